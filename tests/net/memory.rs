//! I15, of sockets: nothing is allocated for an operation.

use crate::counting::allocations;
use crate::kit::run;
use completeio::ancillary::{Incoming, Outgoing, space};
use completeio::io::{AsyncRead, AsyncWrite};
use completeio::net::{TcpListener, TcpStream, UdpSocket};

#[test]
fn nothing_is_allocated_for_an_operation() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = client.into_split();
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = udp.local_addr().unwrap();
        let before = allocations();
        for _ in 0..100 {
            assert_eq!(writer.write([1; 8]).await.0.unwrap(), 8);
            server.readable().await.unwrap();
            assert_eq!(server.peek([0; 4]).await.0.unwrap(), 4);
            let (read, texts) = (&server).read_vectored([[0; 4], [0; 4]]).await;
            assert_eq!(read.unwrap(), 8);
            assert_eq!((&server).write_vectored(texts).await.0.unwrap(), 8);
            assert_eq!(reader.read([0; 8]).await.0.unwrap(), 8);

            udp.send_to([2; 4], at).await.0.unwrap();
            assert_eq!(udp.recv_from([0; 8]).await.0.unwrap(), (4, at));
            let mut control = Outgoing::<{ space(4) }>::new();
            if cfg!(unix) {
                control.traffic_class_v4(1).unwrap();
            }
            let sent = udp.send_msg_to([[3; 4]], control, at).await;
            sent.0.unwrap();
            let room = Incoming::<{ space(4) }>::new();
            let (received, _) = udp.recv_msg([[0; 4]], room).await;
            assert_eq!(received.unwrap().len, 4);
        }
        assert_eq!(allocations() - before, 0);
    });
}
