//! ZIP archives from their parts (PKWARE's APPNOTE 4.3), some of the parts wrong.

use crate::random::Random;

/// A member as its local header and its directory entry tell of it.
struct Member {
    name: Vec<u8>,
    bytes: Vec<u8>,
    method: u16,
    flags: u16,
    checksum: u32,
    held: u32,
    size: u32,
    extra: Vec<u8>,
}

impl Member {
    fn new(name: Vec<u8>, contents: &[u8], random: &mut Random) -> Self {
        let (method, bytes) = if random.one_in(2) {
            (8, deflate(contents))
        } else {
            (0, contents.to_vec())
        };
        Self {
            name,
            method,
            flags: 0,
            checksum: crc32fast::hash(contents),
            held: bytes.len() as u32,
            size: contents.len() as u32,
            bytes,
            extra: Vec::new(),
        }
    }

    fn spoil(&mut self, random: &mut Random) {
        let length = self.bytes.len();
        match random.below(8) {
            0 => self.method = *random.pick(&[0, 1, 8, 9, 12, 14, 20, 93, 95, 98, 99, 0xffff]),
            1 => self.flags = *random.pick(&[1, 8, 0x40, 0x800, 0x2000, 0xffff]),
            2 => self.checksum = random.turn(0) as u32,
            3 => self.held = random.turn(length) as u32,
            4 => self.size = random.turn(length) as u32,
            5 => {
                // Sizes of 64 bits, in the extra field.
                (self.held, self.size) = (u32::MAX, u32::MAX);
                self.extra = vec![1, 0, *random.pick(&[0, 8, 16, 24, 28, 255]), 0];
                for _ in 0..random.below(4) {
                    self.extra.extend(random.turn(length).to_le_bytes());
                }
            }
            6 => {
                let count = random.below(40);
                self.extra = random.bytes(count);
            }
            _ => {
                let at = random.below(length.max(1));
                if let Some(byte) = self.bytes.get_mut(at) {
                    *byte = random.byte();
                }
            }
        }
    }

    /// From the version needed to the length of the extra field: what both headers share.
    fn shared(&self) -> Vec<u8> {
        let mut bytes = 20u16.to_le_bytes().to_vec();
        for word in [self.flags, self.method, 0, 0x21] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [self.checksum, self.held, self.size] {
            bytes.extend(word.to_le_bytes());
        }
        for length in [self.name.len(), self.extra.len()] {
            bytes.extend((length as u16).to_le_bytes());
        }
        bytes
    }
}

/// Deflate without compression: stored blocks, so that contents stay within a mutation's reach.
fn deflate(contents: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut blocks = contents.chunks(0xffff).peekable();
    if blocks.peek().is_none() {
        return vec![1, 0, 0, 0xff, 0xff];
    }
    while let Some(block) = blocks.next() {
        bytes.push(u8::from(blocks.peek().is_none()));
        bytes.extend((block.len() as u16).to_le_bytes());
        bytes.extend((!(block.len() as u16)).to_le_bytes());
        bytes.extend(block);
    }
    bytes
}

/// An archive of `members`, wrong in some places where `faults` says so.
pub(crate) fn build(
    members: Vec<(Vec<u8>, Vec<u8>)>,
    random: &mut Random,
    faults: bool,
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    let mut count = 0u16;
    for (name, contents) in members {
        let mut member = Member::new(name, &contents, random);
        let spoilt = faults && random.one_in(3);
        if spoilt {
            member.spoil(random);
        }
        let mut place = file.len() as u32;
        file.extend(b"PK\x03\x04");
        file.extend(member.shared());
        file.extend(&member.name);
        file.extend(&member.extra);
        file.extend(&member.bytes);
        // Local header and directory may tell different things.
        if spoilt && random.one_in(2) {
            member.spoil(random);
            if random.one_in(4) {
                place = random.turn(file.len()) as u32;
            }
        }
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(member.shared());
        directory.extend([0; 10]);
        directory.extend(place.to_le_bytes());
        directory.extend(&member.name);
        directory.extend(&member.extra);
        count += 1;
    }
    let mut start = file.len() as u32;
    let mut length = directory.len() as u32;
    let mut counts = [count; 2];
    let mut comment = 0u16;
    if faults && random.one_in(3) {
        match random.below(4) {
            0 => start = random.turn(file.len()) as u32,
            1 => length = random.turn(directory.len()) as u32,
            2 => counts[random.below(2)] = random.turn(count.into()) as u16,
            _ => comment = random.turn(0) as u16,
        }
    }
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    for count in counts {
        file.extend(count.to_le_bytes());
    }
    file.extend(length.to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend(comment.to_le_bytes());
    file
}

/// Overwrites a field of a directory entry, of a local header or of the directory's end in a file
/// that is there.
pub(crate) fn spoil_a_field(file: &mut [u8], random: &mut Random) {
    let signature = *random.pick(&[b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"]);
    let places: Vec<usize> = file
        .windows(4)
        .enumerate()
        .filter(|(_, window)| window == signature)
        .map(|(at, _)| at)
        .take(64)
        .collect();
    if places.is_empty() {
        return;
    }
    let at = random.pick(&places) + 4 + random.below(42);
    let width = *random.pick(&[1, 2, 4, 8]);
    let number = random.turn(file.len()).to_le_bytes();
    for (slot, byte) in file.iter_mut().skip(at).zip(&number[..width]) {
        *slot = *byte;
    }
}
