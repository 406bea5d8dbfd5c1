//! The program inside the images that stand in for those of public sample projects. By its name it is a check
//! (`pg_isready`, `curl`, `redis.sh`, `postgres.sh`), by its environment it ends at once (`STANDIN=job`); else it serves,
//! whatever arguments the project gives it.
//!
//! `STANDIN`        `good` answers 200, `bad` 503, `job` ends with code 0
//! `STANDIN_PORT`   where it listens, and where a check asks
//! `STANDIN_NEEDS`  a file without which, or with nothing in which, it answers 503

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

fn main() {
    let setting = |name: &str| std::env::var(name).unwrap_or_default();
    let own = std::env::args().next().unwrap_or_default();
    let port: u16 = setting("STANDIN_PORT").parse().unwrap_or(80);
    let checks = ["pg_isready", "curl", "redis.sh", "postgres.sh"];
    if checks.iter().any(|check| own.ends_with(check)) {
        std::process::exit(i32::from(check(port).is_none()));
    }
    if setting("STANDIN") == "job" {
        return;
    }
    let (good, needs) = (setting("STANDIN") == "good", setting("STANDIN_NEEDS"));
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free in a container of its own");
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let has = needs.is_empty() || std::fs::read(&needs).is_ok_and(|text| !text.is_empty());
        let status = if good && has { "200 OK" } else { "503 Service Unavailable" };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read(&mut [0; 1024]);
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

fn check(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    (&head == b"HTTP/1.1 200").then_some(())
}
