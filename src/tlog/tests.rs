//! The published vectors, a naive tree, and another library against ours.

use super::checkpoint::CheckpointError;
use super::proof::{self, ProofError};
use super::tile::{decode, encode};
use super::*;
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use std::collections::HashMap;
use std::convert::Infallible;

const NAME: &str = "example.org/proxy/edge/audit";

/// The definition of RFC 6962, word for word.
fn naive(leaves: &[Vec<u8>]) -> Hash {
    match leaves {
        [] => Hash::empty(),
        [one] => Hash::leaf(one),
        more => {
            let k = more.len().next_power_of_two() / 2;
            Hash::node(&naive(&more[..k]), &naive(&more[k..]))
        }
    }
}

fn naive_path(m: usize, leaves: &[Vec<u8>]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, sibling) = if m < k {
        (naive_path(m, &leaves[..k]), naive(&leaves[k..]))
    } else {
        (naive_path(m - k, &leaves[k..]), naive(&leaves[..k]))
    };
    path.push(sibling);
    path
}

fn naive_subproof(m: usize, leaves: &[Vec<u8>], is_old_root: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if is_old_root { Vec::new() } else { vec![naive(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, sibling) = if m <= k {
        (naive_subproof(m, &leaves[..k], is_old_root), naive(&leaves[k..]))
    } else {
        (naive_subproof(m - k, &leaves[k..], false), naive(&leaves[..k]))
    };
    path.push(sibling);
    path
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn leaves(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("leaf {n}").into_bytes()).collect()
}

/// Tiles by their path, as a server would have them.
#[derive(Default)]
struct Files(HashMap<String, Vec<u8>>);

impl Files {
    fn of(tree: &Tree) -> Self {
        let full = tree.full().iter().map(|(tile, hashes)| (tile.path(), encode(hashes)));
        Self(full.chain(tree.partial().map(|(tile, hashes)| (tile.path(), encode(hashes)))).collect())
    }
}

impl TileReader for Files {
    type Error = Infallible;
    fn read(&self, tile: Tile) -> Result<Vec<Hash>, Infallible> {
        let content = self.0.get(&tile.path()).or_else(|| self.0.get(&tile.full_path()));
        Ok(content.and_then(|content| decode(content, tile.width)).unwrap_or_default())
    }
}

impl tlog_tiles::TileReader for Files {
    fn height(&self) -> u8 {
        8
    }
    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        // That library writes the height into paths, as Go's checksum database does.
        let path = |tile: &tlog_tiles::Tile| tile.path().replacen("tile/8/", "tile/", 1);
        Ok(tiles.iter().map(|tile| self.0[&path(tile)].clone()).collect())
    }
    fn save_tiles(&self, _tiles: &[tlog_tiles::Tile], _data: &[Vec<u8>]) {}
}

fn tree(leaves: &[Vec<u8>]) -> Tree {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(Hash::leaf(leaf)));
    tree
}

#[test]
fn the_vectors_of_rfc_6962() {
    // Those of the reference implementation of certificate-transparency (merkle_tree_test).
    let inputs =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut tree = Tree::default();
    assert_eq!(tree.root().as_bytes().to_vec(), hex(empty));
    for (input, root) in inputs.iter().zip(roots) {
        tree.push(Hash::leaf(&hex(input)));
        assert_eq!(tree.root().as_bytes().to_vec(), hex(root), "at {}", tree.size());
    }
}

#[test]
fn paths_are_those_of_the_specification() {
    let path = |index, width| Tile { level: 0, index, width }.path();
    assert_eq!(path(1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(path(0, 17), "tile/0/000.p/17");
    assert_eq!(path(1000, 256), "tile/0/x001/000");
    // The example of tlog-tiles: a tree of 70,000 leaves.
    let partial: Vec<String> = Tile::partial(70_000).map(|tile| tile.path()).collect();
    assert_eq!(partial, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
    assert_eq!(Tile::holding(1, 272, 70_000).unwrap().path(), "tile/1/001.p/17");
    assert_eq!(Tile::holding(1, 273, 70_000), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn as_the_naive_tree_does(size in 1_u64..1_300, a in any::<u64>(), b in any::<u64>(), wrong in any::<u64>()) {
        let all = leaves(size);
        let tree = tree(&all);
        let root = naive(&all);
        prop_assert_eq!(tree.root(), root);
        let files = Files::of(&tree);
        let again = Tree::read(size, &files).unwrap();
        prop_assert_eq!((again.root(), again.size()), (root, size));
        let hashes = TileHashes::new(&files, size);
        prop_assert_eq!(proof::root(&hashes, size).unwrap(), Some(root));

        let (index, old) = (a % size, b % size + 1);
        let path = proof::inclusion(&hashes, index, size).unwrap().unwrap();
        prop_assert_eq!(&path, &naive_path(index as usize, &all));
        let leaf = Hash::leaf(&all[index as usize]);
        prop_assert_eq!(proof::check_inclusion(&path, &leaf, index, size, &root), Ok(()));
        let other = wrong % size;
        if other != index {
            prop_assert!(proof::check_inclusion(&path, &leaf, other, size, &root).is_err());
        }
        prop_assert!(proof::check_inclusion(&path, &root, index, size, &root).is_err() || size == 1);

        let old_root = naive(&all[..old as usize]);
        let path = proof::consistency(&hashes, old, size).unwrap().unwrap();
        prop_assert_eq!(&path, &naive_subproof(old as usize, &all, true));
        prop_assert_eq!(proof::check_consistency(&path, (old, &old_root), (size, &root)), Ok(()));
        prop_assert!(proof::check_consistency(&path, (old, &leaf), (size, &root)).is_err() || old == 1);
        if !path.is_empty() {
            let short = &path[1..];
            prop_assert!(proof::check_consistency(short, (old, &old_root), (size, &root)).is_err());
        }
    }

    #[test]
    fn a_public_library_accepts_our_tiles_and_proofs(size in 2_u64..1_300, a in any::<u64>(), b in any::<u64>()) {
        let all = leaves(size);
        let tree = tree(&all);
        let files = Files::of(&tree);
        let theirs = |hash: &Hash| tlog_tiles::Hash(*hash.as_bytes());
        let root = theirs(&tree.root());
        let (index, old) = (a % size, b % (size - 1) + 1);
        let reader = tlog_tiles::TileHashReader::new(size, root, &files);
        prop_assert_eq!(tlog_tiles::tree_hash(size, &reader).unwrap(), root);

        let hashes = TileHashes::new(&files, size);
        let path = proof::inclusion(&hashes, index, size).unwrap().unwrap();
        let path: Vec<_> = path.iter().map(theirs).collect();
        let leaf = tlog_tiles::record_hash(&all[index as usize]);
        tlog_tiles::check_record(&path, size, root, index, leaf).unwrap();
        prop_assert_eq!(tlog_tiles::prove_record(size, index, &reader).unwrap(), path);

        let path = proof::consistency(&hashes, old, size).unwrap().unwrap();
        let path: Vec<_> = path.iter().map(theirs).collect();
        let old_root = theirs(&naive(&all[..old as usize]));
        tlog_tiles::check_tree(&path, size, root, old, old_root).unwrap();
    }

    #[test]
    fn whatever_is_parsed_never_panics(text in "(?s).{0,200}") {
        let _ = text.parse::<ProofFile>();
        let _ = text.parse::<VerifierKey>();
        let _ = Checkpoint::unverified(&text);
    }
}

#[test]
fn the_vector_of_signed_notes() {
    // The example of Go's golang.org/x/mod/sumdb/note, the first implementation.
    let key: VerifierKey =
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
    let note = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    assert!(key.open(note).unwrap().ends_with("your problem is.\n"));
    assert!(matches!(key.open(&note.replace("answer", "anzwer")), Err(NoteError::Signature(_))));
    assert_eq!(key.to_string().parse::<VerifierKey>().unwrap(), key);
    for wrong in ["", "a+b", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"] {
        assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
    }
}

fn signer(name: &str) -> NoteSigner {
    NoteSigner::from_pkcs8(name, &NoteSigner::generate().unwrap()).unwrap()
}

#[test]
fn a_public_library_accepts_our_checkpoints() {
    let signer = signer(NAME);
    let checkpoint = Checkpoint { origin: NAME.to_owned(), size: 3, root: naive(&leaves(3)) };
    let note = checkpoint.sign(&signer);
    let parsed = Note::from_bytes(note.as_bytes()).unwrap();
    let verifier = StandardVerifier::new(&signer.verifier().to_string()).unwrap();
    let (verified, _) = parsed.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!(verified.len(), 1);
    let theirs = tlog_tiles::Checkpoint::from_bytes(parsed.text()).unwrap();
    assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), (NAME, 3, *checkpoint.root.as_bytes()));
}

#[test]
fn a_checkpoint_is_believed_only_of_its_own_log_and_key() {
    let ours = signer(NAME);
    let checkpoint = Checkpoint { origin: NAME.to_owned(), size: 3, root: naive(&leaves(3)) };
    let note = checkpoint.sign(&ours);
    assert_eq!(Checkpoint::open(&note, ours.verifier()), Ok(checkpoint.clone()));
    assert_eq!(Checkpoint::unverified(&note), Ok(checkpoint.clone()));
    let unsigned = CheckpointError::Note(NoteError::Unsigned {
        wanted: signer("other").verifier().short(),
        signers: String::new(),
    });
    for other in [signer(NAME), signer("other")] {
        let refused = Checkpoint::open(&note, other.verifier()).unwrap_err();
        assert_eq!(std::mem::discriminant(&refused), std::mem::discriminant(&unsigned), "{refused}");
    }
    let grown = note.replacen("\n3\n", "\n4\n", 1);
    assert!(matches!(
        Checkpoint::open(&grown, ours.verifier()),
        Err(CheckpointError::Note(NoteError::Signature(_)))
    ));
    let foreign = Checkpoint { origin: "other".to_owned(), ..checkpoint }.sign(&ours);
    assert!(matches!(Checkpoint::open(&foreign, ours.verifier()), Err(CheckpointError::Origin { .. })));
    for text in ["a\n03\n", "a\n3\nAAAA\n", "a\n", "\n3\n"] {
        assert_eq!(
            Checkpoint::open(&ours.sign(text), ours.verifier()),
            Err(CheckpointError::Malformed),
            "{text}"
        );
    }
}

#[test]
fn a_proof_file_proves_one_leaf() {
    let signer = signer(NAME);
    let all = leaves(300);
    let tree = tree(&all);
    let files = Files::of(&tree);
    let path = proof::inclusion(&TileHashes::new(&files, 300), 77, 300).unwrap().unwrap();
    let checkpoint = Checkpoint { origin: NAME.to_owned(), size: 300, root: tree.root() };
    for extra in [None, Some(b"what you like".to_vec())] {
        let file = ProofFile { extra, index: 77, path: path.clone(), checkpoint: checkpoint.sign(&signer) };
        let text = file.to_string();
        let read: ProofFile = text.parse().unwrap();
        assert_eq!(read, file);
        assert_eq!(read.check(b"leaf 77", signer.verifier()), Ok(checkpoint.clone()));
        let refused = read.check(b"leaf 78", signer.verifier()).unwrap_err();
        assert_eq!(refused, proof_file::ProofFileError::Proof(ProofError::Root));
        let moved: ProofFile = text.replacen("index 77", "index 78", 1).parse().unwrap();
        assert!(moved.check(b"leaf 77", signer.verifier()).is_err());
        assert!(text.replacen("index 77", "index 077", 1).parse::<ProofFile>().is_err());
    }
}
