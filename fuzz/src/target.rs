//! The readers that are run, each with what makes its inputs.
//!
//! A reader may read or refuse. Where it refuses, what it says is short and holds nothing that a
//! terminal would take for a command; where it reads, what it read is of the size that the input has.

use crate::random::Random;
use crate::{archive, mutate, npy, tensors, text};
use broadhead_cli::input::{self, Archive, InputError, Source};
use broadhead_cli::words::GatesWord;
use broadhead_cli::{labels, message, model};
use std::path::Path;

/// A reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Npy,
    Npz,
    Safetensors,
    Labels,
    Model,
    Masks,
    /// What the program's own tests run: it fails where the input says so.
    #[cfg(test)]
    Planted,
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was read.
    Read,
    /// It was refused, in these words.
    Refused(String),
}

impl Target {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Npy,
        Self::Npz,
        Self::Safetensors,
        Self::Labels,
        Self::Model,
        Self::Masks,
    ];

    /// Its name, which is its folder's in the corpus.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Safetensors => "safetensors",
            Self::Labels => "labels",
            Self::Model => "model",
            Self::Masks => "masks",
            #[cfg(test)]
            Self::Planted => "planted",
        }
    }

    /// The bytes that reading an input of `length` bytes may ask for altogether. What a file holds
    /// grows to FP64 at most 8 times, and passes through buffers; what a library keeps of a header
    /// is more, and is bounded by the header. Deflate makes up to 1032 bytes of one.
    pub(crate) fn allowed(self, length: usize) -> usize {
        let factor = match self {
            Self::Npz | Self::Masks => 64 + 8 * 1032,
            _ => 64,
        };
        factor * length + (1 << 20)
    }

    /// An input: a seed or a file made of parts, then mutations.
    pub(crate) fn input(self, seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let faults = !random.one_in(4);
        let mut bytes = if random.one_in(3) {
            random.pick(seeds).clone()
        } else {
            self.made(random, faults)
        };
        if faults {
            let rounds = *random.pick(&[0, 0, 1, 1, 2, 4]);
            for _ in 0..rounds {
                match self {
                    Self::Npz | Self::Masks if random.one_in(2) => {
                        archive::spoil_a_field(&mut bytes, random);
                    }
                    _ if random.one_in(4) => mutate::number(&mut bytes, random),
                    _ => mutate::once(&mut bytes, seeds, random),
                }
            }
        }
        bytes
    }

    fn made(self, random: &mut Random, faults: bool) -> Vec<u8> {
        match self {
            Self::Npy => npy::build(random, faults),
            Self::Npz => {
                let names = [
                    "rows.npy",
                    "a.npy",
                    "a.npy",
                    "x.txt",
                    ".npy",
                    "\u{1b}[2J.npy",
                    "../b.npy",
                ];
                let members = (0..random.below(4)).map(|_| {
                    let wrong = faults && random.one_in(2);
                    let name = random.pick(&names).as_bytes().to_vec();
                    (name, npy::build(random, wrong))
                });
                let members = members.collect();
                archive::build(members, random, faults)
            }
            Self::Safetensors => tensors::build(random, faults),
            Self::Labels => text::build(random),
            Self::Model => tensors::model(random, faults),
            Self::Masks => {
                let rows = random.below(5);
                let shape = [rows, 1 + random.below(2)];
                match random.below(4) {
                    0 => npy::mask(random, &shape),
                    1 => tensors::mask(random, shape),
                    _ => {
                        let members = vec![
                            (b"row_dims.npy".to_vec(), npy::mask(random, &shape[..1])),
                            (b"gates.npy".to_vec(), npy::mask(random, &shape)),
                        ];
                        archive::build(members, random, faults)
                    }
                }
            }
            #[cfg(test)]
            Self::Planted => random.bytes(8),
        }
    }

    /// Reads `bytes`.
    pub(crate) fn read(self, bytes: Vec<u8>) -> Outcome {
        let done = match self {
            Self::Npy => numbers(Source::file("x.npy"), bytes),
            Self::Npz => numbers(Source::file("x.npz"), bytes),
            Self::Safetensors => numbers(Source::file("x.safetensors"), bytes),
            Self::Labels => read_labels(&bytes),
            Self::Model => read_model(bytes),
            Self::Masks => read_masks(bytes),
            #[cfg(test)]
            Self::Planted => {
                planted(&bytes);
                Ok(())
            }
        };
        match done {
            Ok(()) => Outcome::Read,
            Err(error) => Outcome::Refused(error.to_string()),
        }
    }
}

/// Every array of a file, then its rows, as a command does that takes the only one.
fn numbers(source: Source, bytes: Vec<u8>) -> Result<(), InputError> {
    let size = bytes.len();
    let mut archive = source.open_bytes(bytes)?;
    let names: Vec<String> = archive
        .slots()
        .iter()
        .map(|slot| slot.name.clone())
        .collect();
    let mut last = Ok(());
    for name in &names {
        match archive.read(name) {
            Ok(array) => assert!(array.array.len() <= 1032 * size, "more than the file holds"),
            Err(error) => last = Err(error),
        }
    }
    input::matrix_of(&mut archive)?;
    last
}

fn read_labels(bytes: &[u8]) -> Result<(), InputError> {
    // The rows are as many as a reader that knows nothing of marks and blank lines counts.
    let text = String::from_utf8_lossy(bytes);
    let rows = text.lines().filter(|line| !line.trim().is_empty()).count();
    let labels = input::parse_labels(bytes, Path::new("l.txt"), "x.npy", rows)?;
    assert_eq!(labels.len(), rows);
    assert!(
        labels
            .iter()
            .all(|label| !label.is_empty() && !label.starts_with('\u{feff}')),
        "a label that is none"
    );
    let groups = labels::group(labels);
    let said = labels::doubt(&groups).unwrap_or_default();
    is_shown(&said);
    is_shown(&message::list(groups.names.iter(), labels::NAMED));
    Ok(())
}

fn read_model(bytes: Vec<u8>) -> Result<(), InputError> {
    let path = Path::new("model.safetensors");
    let model = model::from_archive(path, Source::file(path).open_bytes(bytes)?)?.array;
    assert_eq!(model.decoder().nrows(), model.dictionary().features());
    // A word of gates that is none is refused by the command that takes it up.
    if let Ok(word) = model.gates().parse::<GatesWord>() {
        assert_eq!(word.to_string().parse(), Ok(word));
    }
    Ok(())
}

fn read_masks(bytes: Vec<u8>) -> Result<(), InputError> {
    let file = match bytes.get(..2) {
        Some(b"PK") => "x.npz:gates",
        Some(b"\x93N") => "x.npy",
        _ => "x.safetensors",
    };
    let Ok(source) = file.parse::<Source>();
    let mut archive = source.open_bytes(bytes)?;
    let counts = archive.read_counts_if_there("row_dims", 3);
    if let Ok(Some(counts)) = &counts {
        let whole = |count: &f64| [0.0, 1.0, 2.0, 3.0].contains(count);
        assert!(counts.array.iter().all(whole), "a count that is none");
    }
    let [rows, atoms] = shape_of_gates(&archive);
    let gates = input::gates_of(&mut archive, rows, atoms)?;
    assert!(gates.iter().all(|gate| gate.is_finite()));
    counts.map(|_| ())
}

/// The shape that the gates of `archive` should have: their own, where they have two axes.
fn shape_of_gates(archive: &Archive) -> [usize; 2] {
    let slots = archive.slots();
    let gates = slots
        .iter()
        .find(|slot| slot.name == "gates")
        .or(slots.first());
    match gates.map(|slot| slot.shape.as_slice()) {
        Some(&[rows, atoms]) => [rows, atoms],
        _ => [4, 2],
    }
}

/// Asserts that a message is short and holds nothing raw.
pub(crate) fn is_shown(said: &str) {
    assert!(
        said.len() <= 4 * message::MESSAGE,
        "{} bytes are said",
        said.len()
    );
    assert_eq!(message::for_terminal(said), said, "raw characters are said");
    assert!(!said.contains('\n'), "a line break is said");
}

/// Fails as the first byte says.
#[cfg(test)]
fn planted(bytes: &[u8]) {
    match bytes.first() {
        Some(1) => panic!("planted"),
        Some(2) => assert_eq!(vec![0u8; 1 << 24].len(), 1 << 24),
        Some(3) => std::thread::sleep(std::time::Duration::from_millis(300)),
        _ => {}
    }
}
