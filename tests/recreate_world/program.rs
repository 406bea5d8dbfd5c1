//! What runs inside the test images: answers HTTP, or waits, or says that it is well.

use std::io::{Read, Write};
use std::net::TcpListener;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("check") => {}
        Some("serve") => {
            let port = arguments.get(2).map_or("8080", String::as_str);
            let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("the port is free");
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            }
        }
        _ => loop {
            std::thread::park();
        },
    }
}
