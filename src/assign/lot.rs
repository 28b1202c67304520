//! Weighted rendezvous hashing: each node draws a lot for each user, and the best lot has the user. A node that comes takes
//! only what it wins, a node that goes gives away only what it had; nobody keeps a table.

use std::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use crate::assign::site::Site;
use crate::model::id::{TenantId, UserId};

/// Bits behind the point of a price. 32 tell apart 2^32 lots of one order of magnitude; the name decides between equal ones.
const FRACTION_BITS: u32 = 32;

/// The candidates with the best lots, best first, at most so many.
///
/// A lot is a number u from (0, 1], even over all users; its price is -log(u) / weight, and the lowest price is best: so a
/// node has the best lot with a chance of its weight in the sum of weights. Prices are whole numbers: with floating point,
/// two machines may round a logarithm apart, and a user would have two homes.
pub(super) fn draw<'s>(
    tenant: &TenantId,
    user: &UserId,
    candidates: impl Iterator<Item = &'s Site>,
    most: usize,
) -> Vec<&'s Site> {
    // No name holds a zero byte: what is hashed is one thing only. The functions are fixed: another hash would move everybody.
    let mut key = [tenant.as_str(), "\0", user.as_str(), "\0"].concat().into_bytes();
    let prefix = key.len();
    let mut lots: Vec<(u64, &Site)> = candidates
        .map(|site| {
            key.truncate(prefix);
            key.extend_from_slice(site.name.as_str().as_bytes());
            (minus_log2(xxh3_64(&key)), site)
        })
        .collect();
    lots.sort_by(compare);
    lots.truncate(most);
    lots.into_iter().map(|(_, site)| site).collect()
}

/// Lower price first. Both sides are multiplied by both weights, so nothing is divided; 38 bits times 10 fit.
fn compare((one_log, one): &(u64, &Site), (other_log, other): &(u64, &Site)) -> Ordering {
    // Without a weight all are alike.
    let weight = |site: &Site| u64::from(site.weight.max(1));
    let (left, right) = (one_log * weight(other), other_log * weight(one));
    left.cmp(&right).then_with(|| one.name.cmp(&other.name))
}

/// -log2(hash / 2^64) with [`FRACTION_BITS`] bits behind the point; a hash of 0 counts as 1.
fn minus_log2(hash: u64) -> u64 {
    let hash = hash.max(1);
    let zeros = hash.leading_zeros();
    // The mantissa, from 1 to 2, with 63 bits behind the point. Squaring it doubles its logarithm: what passes 2 is a bit.
    let mut mantissa = u128::from(hash << zeros);
    let mut fraction = 0_u64;
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            fraction |= 1;
        }
    }
    // log2(hash / 2^64) = -(zeros + 1) + log2(mantissa).
    (u64::from(zeros + 1) << FRACTION_BITS) - fraction
}

#[cfg(test)]
mod tests {
    use super::{FRACTION_BITS, minus_log2};

    #[test]
    fn the_logarithm_is_one() {
        let one = f64::from(2_u32).powi(FRACTION_BITS as i32);
        let mut hash = 1_u64;
        for _ in 0..10_000 {
            let told = minus_log2(hash) as f64 / one;
            let exact = 64.0 - (hash as f64).log2();
            assert!((told - exact).abs() < 1e-8, "{hash}: {told}, not {exact}");
            hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407).max(1);
        }
        assert_eq!(minus_log2(0), minus_log2(1));
        assert_eq!(minus_log2(1), 64 << FRACTION_BITS);
        assert_eq!(minus_log2(1 << 63), 1 << FRACTION_BITS);
        assert!(minus_log2(u64::MAX) <= 1, "the best lot is nearly free");
    }
}
