//! The Merkle tree of RFC 6962 over the record hashes, kept as what is needed to go on: the roots of its perfect
//! subtrees, largest first. Pure. A million records need twenty hashes.
//!
//! Must never: know what a leaf stands for (`checkpoint` says: leaf n is the hash of record n).

use sha2::{Digest, Sha256};

use super::{Hash, ReadError, table};

/// Keeps leaves apart from nodes, so that nobody can show a node as a leaf (RFC 6962, section 2.1).
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// A tree that only grows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// One for each bit that is set in `size`, from the highest down.
    peaks: Vec<Hash>,
}

impl Tree {
    /// Adds a leaf with this content.
    pub fn push(&mut self, content: &[u8]) {
        let mut node = hash(&[&[LEAF], content]);
        let mut size = self.size;
        while size & 1 == 1 {
            // One peak for each bit: there is one to take here.
            if let Some(left) = self.peaks.pop() {
                node = parent(left, node);
            }
            size >>= 1;
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its root; that of the tree without leaves is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().copied();
        match peaks.next() {
            Some(last) => peaks.fold(last, |right, left| parent(left, right)),
            None => hash(&[]),
        }
    }

    /// The whole of it, for the index.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.size.to_be_bytes().to_vec();
        for peak in &self.peaks {
            out.extend_from_slice(&peak.0);
        }
        out
    }

    /// Reads it back.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        let (size, peaks) = bytes.split_at_checked(8).ok_or_else(|| table::wrong("the tree of records"))?;
        let size = table::number(size)?;
        let peaks: Vec<Hash> = peaks.chunks(32).map(table::hash).collect::<Result<_, _>>()?;
        match peaks.len() == size.count_ones() as usize {
            true => Ok(Self { size, peaks }),
            false => Err(table::wrong("the tree of records")),
        }
    }
}

fn parent(left: Hash, right: Hash) -> Hash {
    hash(&[&[NODE], &left.0, &right.0])
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves that implementations of certificate transparency test with.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

    /// Their roots for 0 to 8 leaves, as published with them.
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn the_roots_are_those_of_rfc_6962() {
        let mut tree = Tree::default();
        for (leaf, root) in LEAVES.iter().map(Some).chain([None]).zip(ROOTS) {
            assert_eq!(tree.root().to_string(), root, "{} leaves", tree.size());
            if let Some(leaf) = leaf {
                tree.push(&hex::decode(leaf).unwrap());
            }
        }
    }

    /// The definition as the RFC writes it: split at the largest power of two that is smaller.
    fn defined(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => hash(&[]),
            [one] => hash(&[&[LEAF], one]),
            more => {
                let split = more.len().next_power_of_two() / 2;
                parent(defined(&more[..split]), defined(&more[split..]))
            }
        }
    }

    #[test]
    fn it_grows_as_the_rfc_defines_it_and_survives_being_stored_at_every_size() {
        let leaves: Vec<Vec<u8>> = (0..200_u64).map(|n| n.to_be_bytes().repeat(4)).collect();
        let mut tree = Tree::default();
        for size in 0..=leaves.len() {
            assert_eq!(tree.root(), defined(&leaves[..size]), "{size} leaves");
            tree = Tree::from_bytes(&tree.to_bytes()).expect("as it was");
            if let Some(leaf) = leaves.get(size) {
                tree.push(leaf);
            }
        }
        for damaged in [&tree.to_bytes()[..7], &tree.to_bytes()[..39], &tree.to_bytes()[..72], &[]] {
            assert!(Tree::from_bytes(damaged).is_err(), "{} bytes", damaged.len());
        }
    }
}
