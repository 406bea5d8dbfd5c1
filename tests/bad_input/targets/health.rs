//! What a service answers to the question whether it is well.

use sternway::agent::probe::Probe;
use sternway::domain::plan::HealthCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{assert_refusal, block_on};

pub fn feed(data: &[u8]) {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/health?token=hunter2", listener.local_addr().unwrap());
        let probe = Probe::new().unwrap();
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(data).await; // it may hang up in the middle
        };
        let check = HealthCheck::Http { url };
        let (answer, ()) = tokio::join!(probe.ask(&check), serving);
        match answer {
            // Something in it has to say 2xx: a first answer may be one of 1xx, which only announces.
            Ok(()) => {
                assert!(data.windows(10).any(|w| w.starts_with(b"HTTP/1.") && w[9] == b'2'), "well without a word")
            }
            Err(why) => {
                assert_refusal("a health answer", &why, 1_024);
                assert!(!why.contains("hunter2"), "{why}");
            }
        }
    });
}
