//! Sets of devices, as compressed bitmaps (roaring): what conditions compute with. It does not know who is in them, or why.

use std::fmt;
use std::sync::Arc;

use roaring::{MultiOps as _, RoaringBitmap};

use crate::model::id::DeviceNumber;

/// A set of one tenant's devices. Cheap to clone: clones share it until one is changed.
#[derive(Clone, Default, PartialEq)]
pub struct DeviceSet(Arc<RoaringBitmap>);

impl DeviceSet {
    /// Adds a device; false when it was in it.
    pub fn insert(&mut self, device: DeviceNumber) -> bool {
        Arc::make_mut(&mut self.0).insert(device.0)
    }

    /// Takes a device out; false when it was not in it.
    pub fn remove(&mut self, device: DeviceNumber) -> bool {
        self.contains(device) && Arc::make_mut(&mut self.0).remove(device.0)
    }

    /// Whether a device is in it.
    #[must_use]
    pub fn contains(&self, device: DeviceNumber) -> bool {
        self.0.contains(device.0)
    }

    /// How many devices are in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Devices in any of these. Many small sets at once cost far less than one after another.
    #[must_use]
    pub fn union<'s>(sets: impl IntoIterator<Item = &'s Self>) -> Self {
        let mut sets = sets.into_iter();
        let Some(first) = sets.next() else {
            return Self::default();
        };
        let Some(second) = sets.next() else {
            return first.clone();
        };
        let all = [first, second].into_iter().chain(sets).map(|set| &*set.0);
        Self(Arc::new(all.union()))
    }

    /// Devices in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(Arc::new(&*self.0 & &*other.0))
    }

    /// Devices in either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self(Arc::new(&*self.0 | &*other.0))
    }

    /// Devices in this one and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(Arc::new(&*self.0 - &*other.0))
    }

    /// How many are in both.
    #[must_use]
    pub fn shared(&self, other: &Self) -> u64 {
        self.0.intersection_len(&other.0)
    }

    /// The devices after this one, ascending; from the first with `None`.
    pub fn after(&self, device: Option<DeviceNumber>) -> impl Iterator<Item = DeviceNumber> + '_ {
        let mut devices = self.0.iter();
        if let Some(DeviceNumber(last)) = device {
            match last.checked_add(1) {
                Some(first) => devices.advance_to(first),
                None => devices.advance_back_to(0),
            }
        }
        let none = device == Some(DeviceNumber(u32::MAX));
        devices.take_while(move |_| !none).map(DeviceNumber)
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<RoaringBitmap>() + self.0.serialized_size()
    }

    /// Its bytes, in the portable format of roaring bitmaps.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.serialized_size());
        // Writing to memory does not fail.
        let _ = self.0.serialize_into(&mut bytes);
        bytes
    }

    /// Reads what [`DeviceSet::encode`] wrote; `None` for other bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        RoaringBitmap::deserialize_from(bytes).ok().map(|set| Self(Arc::new(set)))
    }
}

impl Eq for DeviceSet {}

impl FromIterator<DeviceNumber> for DeviceSet {
    fn from_iter<I: IntoIterator<Item = DeviceNumber>>(devices: I) -> Self {
        Self(Arc::new(devices.into_iter().map(|device| device.0).collect()))
    }
}

impl fmt::Debug for DeviceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSet({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceSet;
    use crate::model::id::DeviceNumber;

    fn set(numbers: &[u32]) -> DeviceSet {
        numbers.iter().copied().map(DeviceNumber).collect()
    }

    #[test]
    fn sets_compute_and_survive_their_encoding() {
        let (a, b) = (set(&[1, 2, 70_000]), set(&[2, 3]));
        assert_eq!((a.and(&b), a.or(&b), a.without(&b)), (set(&[2]), set(&[1, 2, 3, 70_000]), set(&[1, 70_000])));
        assert_eq!((a.shared(&b), a.len()), (1, 3));
        assert_eq!(DeviceSet::decode(&a.encode()), Some(a.clone()));
        assert_eq!(DeviceSet::decode(&[1, 2, 3]), None);
        assert_eq!(DeviceSet::union([&a, &set(&[]), &b, &b]), a.or(&b));
        assert_eq!((DeviceSet::union([]), DeviceSet::union([&b])), (set(&[]), b.clone()));
        let mut changed = a.clone();
        assert!(changed.insert(DeviceNumber(9)) && !changed.insert(DeviceNumber(9)) && changed.remove(DeviceNumber(1)));
        assert_eq!((changed, a), (set(&[2, 9, 70_000]), set(&[1, 2, 70_000])), "clones are apart");
    }

    #[test]
    fn a_walk_goes_on_after_any_device() {
        let a = set(&[1, 2, 70_000, u32::MAX]);
        let walk = |from: Option<u32>| a.after(from.map(DeviceNumber)).map(|device| device.0).collect::<Vec<_>>();
        assert_eq!(walk(None), [1, 2, 70_000, u32::MAX]);
        assert_eq!(walk(Some(2)), [70_000, u32::MAX]);
        assert_eq!(walk(Some(69_999)), [70_000, u32::MAX]);
        assert_eq!(walk(Some(u32::MAX)), [0; 0]);
    }
}
