//! The contents of RAM at one place in time, as a persistent map from page number to page.
//!
//! A checkpoint of a guest that wrote a hundred pages since the last one costs a hundred pages: maps share
//! what they have in common, down to the page. Finding what differs between two of them costs what differs.
//! A page that is absent is all zeros.

use super::PAGE_BYTES;
use std::sync::Arc;

/// The bytes of a page.
pub type PageBytes = [u8; PAGE_BYTES];

/// Entries of a node.
const WIDTH: usize = 64;
const WIDTH_LOG2: u32 = WIDTH.ilog2();

type Leaf = [Option<Arc<PageBytes>>; WIDTH];
type Middle = [Option<Arc<Leaf>>; WIDTH];

/// Pages by number. Cloning costs one reference per 16 MiB of RAM.
#[derive(Clone, Debug, Default)]
pub struct PageMap {
    roots: Vec<Option<Arc<Middle>>>,
}

/// Where a page number lies: the entries to follow at each level.
fn path(page: usize) -> (usize, usize, usize) {
    let low = |number: usize| number & (WIDTH - 1);
    (page >> (2 * WIDTH_LOG2), low(page >> WIDTH_LOG2), low(page))
}

impl PageMap {
    /// The bytes of a page, or `None` for zeros.
    #[must_use]
    pub fn get(&self, page: usize) -> Option<&Arc<PageBytes>> {
        let (root, middle, leaf) = path(page);
        self.roots.get(root)?.as_ref()?[middle].as_ref()?[leaf].as_ref()
    }

    /// Replaces a page; `None` stands for zeros.
    pub fn set(&mut self, page: usize, bytes: Option<Arc<PageBytes>>) {
        let (root, middle, leaf) = path(page);
        if self.roots.len() <= root {
            self.roots.resize(root + 1, None);
        }
        let middles = self.roots[root].get_or_insert_with(|| Arc::new([const { None }; WIDTH]));
        let leaves = Arc::make_mut(middles)[middle].get_or_insert_with(|| Arc::new([const { None }; WIDTH]));
        Arc::make_mut(leaves)[leaf] = bytes;
    }

    /// The numbers of all pages that may differ between two maps, ascending: those not shared.
    #[must_use]
    pub fn differing(&self, other: &PageMap) -> Vec<usize> {
        let mut found = Vec::new();
        for root in 0..self.roots.len().max(other.roots.len()) {
            let (ours, theirs) = (entry(&self.roots, root), entry(&other.roots, root));
            if is_shared(ours, theirs) {
                continue;
            }
            for middle in 0..WIDTH {
                let ours = ours.and_then(|node| node[middle].as_ref());
                let theirs = theirs.and_then(|node| node[middle].as_ref());
                if is_shared(ours, theirs) {
                    continue;
                }
                let differs = |leaf: &usize| {
                    let ours = ours.and_then(|node| node[*leaf].as_ref());
                    let theirs = theirs.and_then(|node| node[*leaf].as_ref());
                    !is_shared(ours, theirs)
                };
                let first = (root << WIDTH_LOG2 | middle) << WIDTH_LOG2;
                found.extend((0..WIDTH).filter(differs).map(|leaf| first | leaf));
            }
        }
        found
    }
}

fn entry(roots: &[Option<Arc<Middle>>], index: usize) -> Option<&Arc<Middle>> {
    roots.get(index).and_then(Option::as_ref)
}

fn is_shared<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(value: u8) -> Option<Arc<PageBytes>> {
        Some(Arc::new([value; PAGE_BYTES]))
    }

    #[test]
    fn a_page_is_what_was_set_last_and_absent_before() {
        let mut map = PageMap::default();
        for number in [0, 63, 64, 4095, 4096, 300_000] {
            assert!(map.get(number).is_none());
            map.set(number, page(number as u8));
            assert_eq!(map.get(number).unwrap()[0], number as u8);
        }
        map.set(64, None);
        assert!(map.get(64).is_none() && map.get(63).is_some());
    }

    #[test]
    fn maps_differ_in_what_was_set_since_they_were_one() {
        let mut before = PageMap::default();
        (0..10_000).step_by(7).for_each(|number| before.set(number, page(1)));
        let mut after = before.clone();
        assert!(before.differing(&after).is_empty());
        after.set(70, page(2));
        after.set(9_999, page(2));
        after.set(7, None);
        assert_eq!(before.differing(&after), [7, 70, 9_999]);
        assert_eq!(after.differing(&before), [7, 70, 9_999]);
    }
}
