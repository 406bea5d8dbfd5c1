//! What runs inside the test images: answers HTTP, or waits, or says that it is well.

use std::io::{Read, Write};
use std::net::TcpListener;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let says = |word: &str| arguments.iter().any(|a| a == word);
    if says("check") {
    } else if says("serve") {
        let port = arguments.iter().find_map(|a| a.parse::<u16>().ok()).unwrap_or(8080);
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    } else {
        loop {
            std::thread::park();
        }
    }
}
