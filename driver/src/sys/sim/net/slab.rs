//! Places for sockets, with generations.

use super::Socket;

/// Names a socket, or an end of a pipe. One that was closed never names another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId {
    index: usize,
    generation: u64,
}

#[derive(Debug, Default)]
pub(super) struct Slab {
    places: Vec<Place>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Place {
    /// How many sockets have left this place.
    generation: u64,
    socket: Option<Socket>,
}

impl Slab {
    pub(super) fn insert(&mut self, socket: Socket) -> SocketId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let place = &mut self.places[index];
        place.socket = Some(socket);
        SocketId {
            index,
            generation: place.generation,
        }
    }

    pub(super) fn get(&self, id: SocketId) -> Option<&Socket> {
        let place = &self.places[id.index];
        let socket = place.socket.as_ref();
        socket.filter(|_| place.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let place = &mut self.places[id.index];
        let socket = place.socket.as_mut();
        socket.filter(|_| place.generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        self.get(id)?;
        let place = &mut self.places[id.index];
        place.generation += 1;
        self.free.push(id.index);
        place.socket.take()
    }

    /// All sockets, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketId, &Socket)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let id = SocketId {
                index,
                generation: place.generation,
            };
            place.socket.as_ref().map(|socket| (id, socket))
        })
    }
}
