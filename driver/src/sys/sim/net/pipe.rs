//! Pipes, which count in pages as the kernel's do: a write that does not fit behind the last page's
//! bytes takes a page of its own, and a page is free again when all of it was read.
//!
//! See [pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html).

use super::{ERR, HUP, HostId, IN, Kind, Net, OUT, Socket, SocketId};
use crate::sys::sim::errno::{Errno, Result};
use std::collections::VecDeque;

/// Bytes of a page; a write of up to as many (`PIPE_BUF`) goes in whole or not at all.
const PAGE: usize = 4096;
/// Pages of a pipe, which make 65,536 bytes.
const PAGES: usize = 16;

/// The end that is read, where the bytes lie.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pages: VecDeque<Page>,
    /// Whether the writer was closed.
    ended: bool,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) reader: SocketId,
}

#[derive(Debug)]
struct Page {
    bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
}

impl Reader {
    fn write(&mut self, mut bytes: &[u8]) -> Result<usize> {
        let len = bytes.len();
        let odd = len % PAGE;
        if let Some(last) = self.pages.back_mut() {
            if last.bytes.len() + odd <= PAGE {
                last.bytes.extend_from_slice(&bytes[..odd]);
                bytes = &bytes[odd..];
            }
        }
        while !bytes.is_empty() && !self.is_full() {
            let (page, rest) = bytes.split_at(bytes.len().min(PAGE));
            self.pages.push_back(Page {
                bytes: page.to_vec(),
                read: 0,
            });
            bytes = rest;
        }
        match len - bytes.len() {
            0 if len > 0 => Err(Errno(libc::EAGAIN)),
            written => Ok(written),
        }
    }

    fn read(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(page) = self.pages.front_mut() {
            let unread = &page.bytes[page.read..];
            let taken = unread.len().min(len - bytes.len());
            bytes.extend_from_slice(&unread[..taken]);
            page.read += taken;
            if page.read < page.bytes.len() {
                break;
            }
            self.pages.pop_front();
        }
        if bytes.is_empty() && len > 0 && !self.ended {
            return Err(Errno(libc::EAGAIN));
        }
        Ok(bytes)
    }

    fn is_full(&self) -> bool {
        self.pages.len() == PAGES
    }

    pub(super) fn poll(&self) -> u16 {
        let mut events = 0;
        if !self.pages.is_empty() {
            events |= IN;
        }
        if self.ended {
            events |= HUP;
        }
        events
    }
}

impl Net {
    /// Makes a pipe and gives the end to read from and the end to write to.
    pub(crate) fn pipe(&mut self, host: HostId) -> (SocketId, SocketId) {
        let reader = self
            .sockets
            .insert(Socket::new(host, Kind::Reader(Reader::default())));
        let writer = self
            .sockets
            .insert(Socket::new(host, Kind::Writer(Writer { reader })));
        (reader, writer)
    }

    pub(super) fn pipe_read(&mut self, id: SocketId, len: usize) -> Result<Vec<u8>> {
        self.reader(id).ok_or(Errno(libc::EBADF))?.read(len)
    }

    pub(super) fn pipe_write(&mut self, reader: SocketId, bytes: &[u8]) -> Result<usize> {
        match self.reader(reader) {
            _ if bytes.is_empty() => Ok(0),
            Some(reader) => reader.write(bytes),
            None => Err(Errno(libc::EPIPE)),
        }
    }

    pub(super) fn pipe_end(&mut self, reader: SocketId) {
        if let Some(reader) = self.reader(reader) {
            reader.ended = true;
        }
    }

    pub(super) fn writer_poll(&self, reader: SocketId) -> u16 {
        match self.sockets.get(reader).map(|socket| &socket.kind) {
            Some(Kind::Reader(reader)) if reader.is_full() => 0,
            Some(_) => OUT,
            None => OUT | ERR,
        }
    }

    fn reader(&mut self, id: SocketId) -> Option<&mut Reader> {
        match &mut self.sockets.get_mut(id)?.kind {
            Kind::Reader(reader) => Some(reader),
            _ => None,
        }
    }
}
