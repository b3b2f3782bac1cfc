//! Messages on the pair of sockets.

use crate::counting::Marks;
use crate::kit::{Bytes, Lent, Number, Rig, TEXT, Texts, room};
use completeio_driver::address::Address;
use completeio_driver::ancillary::{ControlMessage, Incoming, Outgoing, space};
use completeio_driver::driver::{CompleteIo, Refusal};
use completeio_driver::op::{
    MsgFlags, Op, RecvFrom, RecvFromVectored, RecvMsg, RecvVectored, SendMsg, SendTo,
    SendToVectored, SendVectored,
};
use std::time::Duration;

pub(crate) type OneNumber = Outgoing<{ space(4) }, [Number; 1]>;

/// On the pair of sockets.
pub(crate) struct Messages {
    pub(crate) send_to: Lent<SendTo<Number, &'static [u8]>>,
    pub(crate) recv_from: Lent<RecvFrom<Number, Bytes>>,
    pub(crate) send_vectored: Lent<SendVectored<Number, Texts>>,
    pub(crate) recv_vectored: Lent<RecvVectored<Number, Vec<Bytes>>>,
    pub(crate) send_to_vectored: Lent<SendToVectored<Number, Texts>>,
    pub(crate) recv_from_vectored: Lent<RecvFromVectored<Number, [Bytes; 2]>>,
    pub(crate) send_msg: Lent<SendMsg<Number, [&'static [u8]; 1], OneNumber>>,
    pub(crate) recv_msg: Lent<RecvMsg<Number, [Bytes; 1], Box<Incoming<{ space(4) }>>>>,
    pub(crate) refused: Lent<RecvFrom<Number, Bytes>>,
}

impl Messages {
    pub(crate) fn new(left: Number, right: Number) -> Self {
        let nowhere = Address::unspecified();
        let control = Outgoing::with_rights([left]).unwrap();
        let room_for_one = Box::new(Incoming::new());
        let trunc = MsgFlags::from_bits(libc::MSG_TRUNC);
        Self {
            send_to: Lent::new(SendTo::new(left, TEXT, nowhere)),
            recv_from: Lent::new(RecvFrom::new(right, room())),
            send_vectored: Lent::new(SendVectored::new(left, [TEXT, TEXT])),
            recv_vectored: Lent::new(RecvVectored::new(right, vec![room(), room()])),
            send_to_vectored: Lent::new(SendToVectored::new(left, [TEXT, TEXT], nowhere)),
            recv_from_vectored: Lent::new(RecvFromVectored::new(right, [room(), room()])),
            send_msg: Lent::new(SendMsg::new(left, [TEXT], control)),
            recv_msg: Lent::new(RecvMsg::new(right, [room()], room_for_one)),
            refused: Lent::new(RecvFrom::new(right, room()).flags(trunc)),
        }
    }
}

/// Each kind of message succeeds, and fails.
pub(crate) fn messages(rig: &mut Rig<'_>, ops: &mut Messages, marks: &mut Marks) {
    let len = rig.run(&mut ops.send_to, 20).unwrap();
    assert_eq!(rig.run(&mut ops.recv_from, 21).unwrap().len, len);
    marks.step("SendTo, RecvFrom");
    let len = rig.run(&mut ops.send_vectored, 20).unwrap();
    assert_eq!(rig.run(&mut ops.recv_vectored, 21).unwrap(), len);
    marks.step("SendVectored, RecvVectored");
    let len = rig.run(&mut ops.send_to_vectored, 20).unwrap();
    assert_eq!(rig.run(&mut ops.recv_from_vectored, 21).unwrap().len, len);
    marks.step("SendToVectored, RecvFromVectored");
    for _ in 0..2 {
        rig.push(&ops.recv_msg, 21);
        rig.submit(Some(Duration::ZERO));
        rig.run(&mut ops.send_msg, 20).unwrap();
        let entry = rig.wait(21);
        // SAFETY: the entry of this operation's last flight.
        let received = unsafe { ops.recv_msg.op().finish(entry) }.unwrap();
        assert_eq!(received.len, TEXT.len());
    }
    let message = ops.recv_msg.op().control_mut().messages().next();
    assert!(matches!(message, Some(ControlMessage::Rights(fds)) if fds.remaining() == 1));
    ops.recv_msg.op().control_mut().clear();
    marks.step("SendMsg, RecvMsg");
    assert_eq!(rig.refuse(&mut ops.refused, 22), Refusal::Flags);
    marks.step("RecvFrom refused");
    let place = *ops.recv_vectored.op().fd();
    rig.push(&ops.recv_vectored, 23);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel_fd(&place).unwrap();
    assert_eq!(rig.wait(23).raw_os_error(), Some(libc::ECANCELED));
    marks.step("RecvVectored cancelled");
}
