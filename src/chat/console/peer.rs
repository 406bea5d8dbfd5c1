//! Who is at the other end of the socket, as the kernel tells it (decision 30).

use tokio::net::UnixStream;

use crate::domain::actor::{Account, Surface};

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// User id of the process that connected, by `SO_PEERCRED` (unix(7)).
    pub uid: u32,
    /// For the record: its pid and the user who once logged in there, whatever `sudo` made of them since.
    pub detail: String,
}

impl Peer {
    /// Asks the kernel.
    pub fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let cred = stream.peer_cred()?;
        // 0 is what the kernel says for a process of another pid namespace.
        let detail = match cred.pid().filter(|pid| *pid > 0) {
            Some(pid) => format!("pid {pid}, login uid {}", login_uid(pid)),
            None => "pid unknown, login uid unknown".to_owned(),
        };
        Ok(Self { uid: cred.uid(), detail })
    }

    /// Its account.
    pub fn account(&self) -> Account {
        Account { surface: Surface::Console, id: format!("uid:{}", self.uid), detail: Some(self.detail.clone()) }
    }

    /// The account of the person it speaks as; only the demo's server asks for this.
    pub fn speaking_as(&self, name: &str, uid: u32) -> Account {
        let detail = format!("{}, speaking as {name} in the demo", self.detail);
        Account { surface: Surface::Console, id: format!("uid:{uid}"), detail: Some(detail) }
    }
}

/// `/proc/PID/loginuid` (proc(5)); 4294967295 means that nobody logged in.
fn login_uid(pid: i32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/loginuid")) {
        Ok(text) if text.trim() == u32::MAX.to_string() => "none".to_owned(),
        Ok(text) => text.trim().parse::<u32>().map_or_else(|_| "unknown".to_owned(), |uid| uid.to_string()),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_names_the_process_and_user_that_connected() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = Peer::of(&a).unwrap();
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert!(peer.detail.starts_with(&format!("pid {}, login uid ", std::process::id())), "{}", peer.detail);
        assert_eq!(peer.speaking_as("carol", 7).id, "uid:7");
        assert!(peer.speaking_as("carol", 7).detail.unwrap().contains("speaking as carol in the demo"));
    }
}
