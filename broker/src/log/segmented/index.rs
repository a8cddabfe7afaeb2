//! The sparse index of a segment: where to begin looking for an offset or a time.
//!
//! It is kept in memory alone. The writer fills it as it appends; that of an older segment is rebuilt by walking over its headers, from
//! where the last walk ended to where the next one must go.

use std::io;

use sealstream_protocol::entry::EntryView;

use super::segment::{Depth, SEGMENT_HEADER, Step, Walk};
use crate::log::disk::DiskFile;

/// How many places where a read ended are remembered, for the reads that go on from there: as many sequential readers of one
/// segment need no walk at all.
const MAX_PLACES: usize = 32;

/// An entry to begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    offset: u64,
    position: u64,
    time: i64,
}

/// Where an entry was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Here it begins.
    At(u64),
    /// It lies beyond the end of the segment.
    Beyond,
    /// Before it comes something that cannot be read.
    Damaged {
        /// The offset that should be there.
        offset: u64,
        /// What is there.
        reason: String,
    },
}

/// The index of one segment.
#[derive(Debug)]
pub(super) struct Index {
    interval: u64,
    points: Vec<Point>,
    /// Up to here the points go.
    frontier: Frontier,
    /// Where entries begin that readers will ask for: (offset, position), the latest last.
    places: Vec<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Frontier {
    offset: u64,
    position: u64,
    /// The position of the last point.
    point: Option<u64>,
}

impl Index {
    pub(super) fn new(base: u64, interval: u64) -> Self {
        let frontier = Frontier { offset: base, position: SEGMENT_HEADER, point: None };
        Self { interval, points: Vec::new(), frontier, places: Vec::new() }
    }

    /// Takes note of an entry, with what stands before it, that lies between `from` and `to`. Ignored if it does not continue what is
    /// known.
    pub(super) fn extend(&mut self, from: u64, entry: (u64, &EntryPlace), to: u64) {
        if from != self.frontier.position {
            return;
        }
        let (position, place) = entry;
        if self.frontier.point.is_none_or(|last| position - last >= self.interval) {
            self.points.push(Point { offset: place.offset, position, time: place.time });
            self.frontier.point = Some(position);
        }
        self.frontier.position = to;
        self.frontier.offset = place.next;
    }

    /// Remembers that the entry with this base offset begins here.
    pub(super) fn remember(&mut self, offset: u64, position: u64) {
        if self.places.contains(&(offset, position)) {
            return;
        }
        if self.places.len() == MAX_PLACES {
            self.places.remove(0);
        }
        self.places.push((offset, position));
    }

    /// Where the entry with this base offset begins, if that is remembered.
    pub(super) fn place(&self, offset: u64) -> Option<u64> {
        self.places.iter().find(|(known, _)| *known == offset).map(|(_, position)| *position)
    }

    /// Where the entry that holds `offset` begins.
    pub(super) fn locate(&mut self, file: &dyn DiskFile, offset: u64) -> io::Result<Found> {
        if let Some(position) = self.place(offset) {
            return Ok(Found::At(position));
        }
        let after = self.points.partition_point(|point| point.offset <= offset);
        let from = match after.checked_sub(1).map(|at| self.points[at]) {
            Some(point) if offset < self.frontier.offset => (point.position, point.offset),
            _ => (self.frontier.position, self.frontier.offset),
        };
        self.walk(file, from, |view| view.next_offset() > offset)
    }

    /// Where the first entry begins that was appended at or after `time`, and its base offset.
    pub(super) fn locate_time(&mut self, file: &dyn DiskFile, time: i64) -> io::Result<Option<u64>> {
        let after = self.points.partition_point(|point| point.time < time);
        let from = match after.checked_sub(1).map(|at| self.points[at]) {
            // The next point is late enough, or nothing is known of what comes: begin at the last that is too early.
            Some(point) => (point.position, point.offset),
            None => (SEGMENT_HEADER, 0),
        };
        let mut offset = None;
        self.walk(file, from, |view| {
            let late = view.header.append_time >= time;
            offset = late.then_some(view.header.base_offset);
            late
        })?;
        Ok(offset)
    }

    /// The append time of the first entry; `None` if there is none that can be read.
    pub(super) fn first_time(&mut self, file: &dyn DiskFile) -> io::Result<Option<i64>> {
        if self.points.is_empty() {
            self.walk(file, (self.frontier.position, self.frontier.offset), |_| true)?;
        }
        Ok(self.points.first().map(|point| point.time))
    }

    fn walk(
        &mut self,
        file: &dyn DiskFile,
        (position, offset): (u64, u64),
        mut is_it: impl FnMut(&EntryView) -> bool,
    ) -> io::Result<Found> {
        let mut walk = Walk::new(file, position, Depth::Headers)?;
        let mut expected = offset;
        let mut from = position;
        loop {
            match walk.next()? {
                Step::Binding(_) => {}
                Step::End => return Ok(Found::Beyond),
                Step::Bad(reason) => return Ok(Found::Damaged { offset: expected, reason }),
                Step::Entry { position, view } => {
                    expected = view.next_offset();
                    self.extend(from, (position, &EntryPlace::of(&view)), walk.position());
                    from = walk.position();
                    if is_it(&view) {
                        return Ok(Found::At(position));
                    }
                }
            }
        }
    }
}

/// What the index keeps of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryPlace {
    pub(super) offset: u64,
    pub(super) next: u64,
    pub(super) time: i64,
}

impl EntryPlace {
    pub(super) fn of(view: &EntryView) -> Self {
        Self { offset: view.header.base_offset, next: view.next_offset(), time: view.header.append_time }
    }
}
