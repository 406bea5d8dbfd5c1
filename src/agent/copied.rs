//! Files that Compose copied into a container instead of mounting them: secrets whose content is a variable. No setting
//! tells of them, so they follow as files, with owner and mode, after the new container was made and before anything
//! stops. What a crash leaves of it is the new container, which goes as a whole. Must never: keep such a file, or show
//! what is in it.

use super::engine::{Engine, EngineError};
use super::host::HostAgent;
use super::operation::Operation;
use super::spec;

/// Tar works in blocks of this size.
const BLOCK: usize = 512;
/// Longest path that the plain form of tar holds.
const PATH_MAX: usize = 99;
/// Largest file that is carried: a secret is a few lines, and Docker's own limit for one is 500 kB.
const FILE_MAX: usize = 4 * 1024 * 1024;

impl<E: Engine> HostAgent<E> {
    /// Copies what Compose copied into the old container to the new one, and looks whether it is there.
    pub(super) async fn carry_copied(&self, op: &Operation, new: &str) -> Result<(), String> {
        let failed = |e: EngineError| format!("the secrets of the old container could not be copied: {e}");
        let changes = self.engine.filesystem_changes(&op.old.id).await.map_err(failed)?;
        let old = self.engine.inspect(&op.old.id).await.map_err(failed)?;
        let Some(old) = old else { return Err("the old container was removed by somebody".to_owned()) };
        for path in spec::copied_files(&old, &changes) {
            let unfit = || format!("the secret {path} is not one plain file, and nothing else can be copied");
            let taken = self.engine.take_file(&op.old.id, &path).await.map_err(failed)?;
            let placed = placed(&taken, &path).ok_or_else(unfit)?;
            self.engine.put_files(new, &placed).await.map_err(failed)?;
            let there = self.engine.take_file(new, &path).await.map_err(failed)?;
            if self::placed(&there, &path).as_ref() != Some(&placed) {
                return Err(format!("the secret {path} did not arrive in the new container as it was"));
            }
        }
        Ok(())
    }
}

/// The one plain file of an archive, with its owner, mode and time, in an archive where it has this path from the root.
fn placed(archive: &[u8], path: &str) -> Option<Vec<u8>> {
    let path = path.trim_start_matches('/');
    if path.is_empty() || path.len() > PATH_MAX {
        return None;
    }
    let (header, content) = only_file(archive)?;
    let mut out = vec![0; BLOCK];
    out[..path.len()].copy_from_slice(path.as_bytes());
    // mode, owner, group, size and time as they are; then a plain file in the form called ustar.
    out[100..148].copy_from_slice(&header[100..148]);
    out[156] = b'0';
    out[257..265].copy_from_slice(b"ustar\x0000");
    out[148..156].fill(b' ');
    let sum: u32 = out.iter().map(|b| u32::from(*b)).sum();
    out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    Some(out)
}

/// Header and content of the archive's only entry; `None` unless that is a plain file.
fn only_file(archive: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = archive;
    let mut found = None;
    while let Some(header) = rest.get(..BLOCK).filter(|header| header.iter().any(|b| *b != 0)) {
        let digits = header[124..136].iter().take_while(|b| b.is_ascii_digit());
        let size = digits.fold(0usize, |size, b| size.saturating_mul(8).saturating_add(usize::from(b - b'0')));
        let content = rest.get(BLOCK..BLOCK.checked_add(size)?).filter(|_| size <= FILE_MAX)?;
        match header[156] {
            b'0' | 0 if found.is_none() => found = Some((header, content)),
            // Notes about the next entry, such as its time in parts of a second.
            b'x' | b'g' => {}
            _ => return None,
        }
        rest = rest.get(BLOCK + size.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
        let mut out = vec![0; BLOCK];
        out[..name.len()].copy_from_slice(name.as_bytes());
        out[100..108].copy_from_slice(b"0000444\0");
        out[108..116].copy_from_slice(b"0001750\0");
        out[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        out[156] = kind;
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        out
    }

    #[test]
    fn a_file_gets_its_path_and_keeps_owner_mode_and_content() {
        let archive = [entry(b'x', "PaxHeaders", b"20 mtime=1.5\n"), entry(b'0', "token", b"s3cret"), vec![0; 1024]];
        let out = placed(&archive.concat(), "/run/secrets/token").unwrap();
        assert!(out.starts_with(b"run/secrets/token\0"));
        assert_eq!(&out[100..116], b"0000444\x000001750\0");
        assert_eq!(&out[512..518], b"s3cret");
        assert_eq!(out.len() % BLOCK, 0);
        let (mut plain, said) = (out[..BLOCK].to_vec(), std::str::from_utf8(&out[148..154]).unwrap());
        plain[148..156].fill(b' ');
        assert_eq!(u32::from_str_radix(said, 8), Ok(plain.iter().map(|b| u32::from(*b)).sum::<u32>()));
        assert_eq!(placed(&out, "/run/secrets/token").as_ref(), Some(&out), "it arrives as it was sent");
    }

    #[test]
    fn what_is_not_one_plain_file_is_not_carried() {
        let file = || entry(b'0', "a", b"x");
        for bad in [vec![], entry(b'5', "folder", b""), entry(b'2', "link", b""), [file(), file()].concat()] {
            assert_eq!(placed(&bad, "/run/secrets/a"), None);
        }
        let mut cut = file();
        cut[124..136].copy_from_slice(b"77777777777\0");
        assert_eq!(placed(&cut, "/run/secrets/a"), None, "larger than what is there");
        assert_eq!(placed(&file(), &format!("/{}", "a".repeat(PATH_MAX + 1))), None);
        assert!(placed(&file(), &format!("/{}", "a".repeat(PATH_MAX))).is_some());
    }
}
