//! One behaviour each. `fill` plays the kernel: it writes through the raw pointer only. Run under
//! Miri with both aliasing models: they test B1 to B8.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    reason = "tests play the kernel, and may panic"
)]

use std::mem::MaybeUninit;
use std::rc::Rc;
use std::sync::Arc;

use super::{
    Aligned, AlignedError, IntoInner, IoBuf, IoBufMut, IoBufsMut, Limit, Rest, Slice, Sliceable,
    Storage, each_slice, fill_all,
};

/// A read: stores as much of `data` as has room; returns how much that was.
fn fill(buf: &mut impl IoBufMut, data: &[u8]) -> usize {
    let (at, room) = buf.parts_mut();
    let n = data.len().min(room);
    for (i, byte) in data[..n].iter().enumerate() {
        // SAFETY: `i` is less than `room`, and nobody touched `buf` since `parts_mut` (B1, B2).
        unsafe { at.wrapping_add(i).write(*byte) }
    }
    // SAFETY: the first `n` bytes were just written (B5).
    unsafe { buf.set_filled(n) }
    n
}

/// A write: what the kernel sees of `buf`.
fn seen(buf: &impl IoBuf) -> Vec<u8> {
    let (at, len) = buf.parts();
    // SAFETY: valid and initialised while `buf` is not touched (B2), which the result outlives not.
    unsafe { std::slice::from_raw_parts(at, len) }.to_vec()
}

/// With `len` bytes of room exactly, whatever the allocator gives.
fn vec_of(capacity: usize) -> Vec<u8> {
    let vec = Vec::with_capacity(capacity);
    assert_eq!(vec.capacity(), capacity);
    vec
}

#[test]
fn every_read_buffer_is_seen_whole() {
    let mut bytes = *b"abc";
    assert_eq!(seen(&b"abc".to_vec()), b"abc");
    assert_eq!(seen(&Box::<[u8]>::from(*b"abc")), b"abc");
    assert_eq!(seen(&String::from("abc")), b"abc");
    assert_eq!(seen(&"abc"), b"abc");
    assert_eq!(seen(&&b"abc"[..]), b"abc");
    assert_eq!(seen(&&mut bytes[..]), b"abc");
    assert_eq!(seen(&Rc::<[u8]>::from(*b"abc")), b"abc");
    assert_eq!(seen(&Arc::<[u8]>::from(*b"abc")), b"abc");
    assert_eq!(seen(&bytes), b"abc");
    assert_eq!(seen(&&bytes), b"abc");
    assert_eq!(seen(&&mut bytes), b"abc");
}

#[test]
fn a_read_pointer_outlives_shared_use() {
    let mut text = String::from("abc");
    let (at, len) = text.parts();
    assert_eq!(text.as_str(), "abc");
    // SAFETY: shared use is no touch (B2).
    assert_eq!(unsafe { std::slice::from_raw_parts(at, len) }, b"abc");
    text.push('d');
    assert_eq!(seen(&text), b"abcd");
}

#[test]
fn the_other_handle_of_an_rc_cannot_write() {
    let lent = Rc::<[u8]>::from(*b"abc");
    let mut other = Rc::clone(&lent);
    let (at, _) = lent.parts();
    assert!(Rc::get_mut(&mut other).is_none());
    drop(other);
    // SAFETY: `lent` keeps the bytes alive (B2).
    assert_eq!(unsafe { at.read() }, b'a');
}

#[test]
fn a_vec_fills_its_spare_capacity() {
    let mut vec = vec_of(5);
    vec.extend(b"ab");
    assert_eq!(fill(&mut vec, b"cdefgh"), 3);
    assert_eq!(vec, b"abcde");
}

#[test]
fn a_full_vec_has_no_room() {
    let mut vec = vec![1, 2, 3];
    vec.shrink_to_fit();
    assert_eq!(fill(&mut vec, b"x"), 0);
    assert_eq!(vec, [1, 2, 3]);
}

#[test]
fn a_vec_without_memory_has_no_room() {
    let mut vec = Vec::new();
    assert!(!vec.parts_mut().0.is_null());
    assert_eq!(fill(&mut vec, b"x"), 0);
}

#[test]
fn a_borrowed_vec_fills_like_an_owned_one() {
    let mut vec = vec_of(4);
    assert_eq!(fill(&mut &mut vec, b"ab"), 2);
    assert_eq!(fill(&mut (&mut vec).slice(1..), b"cdef"), 3);
    assert_eq!(vec, b"acde");
}

#[test]
fn memory_of_fixed_size_is_filled_from_its_start() {
    let mut array = [0; 3];
    assert_eq!(fill(&mut array, b"ab"), 2);
    assert_eq!(array, *b"ab\0");
    assert_eq!(fill(&mut &mut array[1..], b"xyz"), 2);
    assert_eq!(array, *b"axy");
    let mut boxed = Box::<[u8]>::from([0; 3]);
    assert_eq!(fill(&mut boxed, b"abcd"), 3);
    assert_eq!(*boxed, *b"abc");
}

#[test]
fn an_array_of_nothing_is_lent() {
    let mut none = [0; 0];
    assert!(!none.parts_mut().0.is_null());
    assert_eq!(fill(&mut none, b"x"), 0);
    assert_eq!(seen(&none), b"");
    assert_eq!(fill(&mut none.slice(..), b"x"), 0);
}

#[test]
fn an_array_moves_with_what_was_written() {
    let mut array = [0; 2];
    let (at, _) = array.parts_mut();
    // SAFETY: two bytes of room, not touched since.
    unsafe { at.write(7) }
    let mut moved = array;
    // SAFETY: one byte was written, and the value moved since at most (B5).
    unsafe { moved.set_filled(1) }
    assert_eq!(moved, [7, 0]);
}

#[test]
fn uninitialised_memory_is_filled() {
    let mut array = [MaybeUninit::uninit(); 3];
    assert_eq!(fill(&mut &mut array[..], b"ab"), 2);
    assert_eq!(fill(&mut (&mut array[..]).slice(2..), b"cd"), 1);
    // SAFETY: all three were written.
    assert_eq!(array.map(|byte| unsafe { byte.assume_init() }), *b"abc");
    let mut boxed = Box::<[u8]>::new_uninit_slice(2);
    assert_eq!(fill(&mut boxed, b"a"), 1);
    let mut window = boxed.slice(1..);
    assert_eq!(fill(&mut window, b"b"), 1);
    // SAFETY: both were written.
    assert_eq!(*unsafe { window.into_inner().assume_init() }, *b"ab");
}

#[test]
fn a_slice_of_a_vec_covers_its_start() {
    let mut window = b"abcdef".to_vec().slice(..);
    assert_eq!(fill(&mut window, b"xy"), 2);
    assert_eq!(window.into_inner(), b"xy");
}

#[test]
fn a_slice_ends_with_the_capacity() {
    let mut vec = vec_of(4);
    vec.push(b'a');
    let mut window = vec.slice(1..100);
    assert_eq!(fill(&mut window, b"bcdefg"), 3);
    assert_eq!(&*window, b"bcd");
    assert_eq!(window.into_inner(), b"abcd");
}

#[test]
fn a_slice_ends_with_its_end() {
    let mut window = Vec::with_capacity(16).slice(..=1);
    assert_eq!(fill(&mut window, b"abc"), 2);
    assert_eq!(window.into_inner(), b"ab");
}

#[test]
fn a_slice_is_written_up_to_the_initialised_bytes() {
    let mut vec = Vec::with_capacity(16);
    vec.extend(b"abc");
    assert_eq!(seen(&(&vec).slice(1..16)), b"bc");
    assert_eq!(seen(&(&vec).slice(1..2)), b"b");
    assert_eq!(seen(&vec.slice(3..)), b"");
}

#[test]
fn a_slice_of_fixed_memory_is_a_window() {
    let mut bytes = *b"abcdef";
    assert_eq!(fill(&mut (&mut bytes[..]).slice(2..4), b"xyz"), 2);
    assert_eq!(bytes, *b"abxyef");
    assert_eq!(seen(&bytes.slice(4..)), b"ef");
}

#[test]
fn a_slice_of_a_slice_counts_from_the_window() {
    let mut window = b"abcdef".to_vec().slice(1..5).slice(2..);
    assert_eq!(seen(&window), b"de");
    assert_eq!(fill(&mut window, b"xyz"), 2);
    assert_eq!(window.storage_mut().1, 2);
    let outer: Slice<Vec<u8>> = window.into_inner();
    assert_eq!(&*outer, b"bcxy");
    assert_eq!(outer.into_inner(), b"abcxy");
}

#[test]
fn a_slice_keeps_what_is_before_it_when_nothing_came() {
    let mut window = b"abc".to_vec().slice(1..);
    assert_eq!(fill(&mut window, b""), 0);
    assert_eq!(window.into_inner(), b"a");
}

#[test]
fn a_slice_that_failed_keeps_its_length() {
    let mut window = b"abc".to_vec().slice(1..);
    window.parts_mut();
    assert_eq!(window.into_inner(), b"abc");
}

#[test]
fn a_slice_tells_its_range() {
    use std::ops::Bound::{Excluded, Unbounded};
    let window = b"abc".slice((Excluded(0), Unbounded));
    assert_eq!((window.begin(), window.end()), (1, None));
    assert_eq!(b"abc".slice(1..9).end(), Some(9));
}

#[test]
#[should_panic(expected = "the slice begins at 4, but only 3 bytes of the buffer are initialised")]
fn a_slice_cannot_begin_in_spare_capacity() {
    let mut vec = Vec::with_capacity(16);
    vec.extend(b"abc");
    let _ = vec.slice(4..);
}

#[test]
#[should_panic(expected = "the slice begins at 2, after its end at 1")]
#[allow(clippy::reversed_empty_ranges, reason = "that is the case")]
fn a_slice_cannot_end_before_it_begins() {
    let _ = [0; 4].slice(2..1);
}

#[test]
fn an_aligned_buffer_is_empty_zeroed_and_aligned() {
    let mut block = Aligned::new(1024, 512);
    assert_eq!(
        (block.len(), block.capacity(), block.align()),
        (0, 1024, 512)
    );
    let (at, room) = block.parts_mut();
    assert_eq!((at.addr() % 512, room), (0, 1024));
    block.set_len(1024);
    assert_eq!(*block, [0; 1024]);
    assert_eq!(block.parts_mut().1, 0);
}

#[test]
fn an_aligned_buffer_fills_like_a_vec() {
    let mut block = Aligned::new(4, 64);
    assert_eq!(fill(&mut block, b"ab"), 2);
    assert_eq!(fill(&mut block, b"cdef"), 2);
    assert_eq!(seen(&block), b"abcd");
    let mut window = block.slice(1..3);
    assert_eq!(fill(&mut window, b"xyz"), 2);
    assert_eq!(*window.into_inner(), *b"axy");
}

#[test]
fn an_aligned_buffer_of_nothing_is_lent() {
    let mut none = Aligned::new(0, 4096);
    assert_eq!(none.parts_mut().0.addr(), 4096);
    assert_eq!(fill(&mut none, b"x"), 0);
    assert!(none.is_empty());
}

#[test]
fn an_aligned_buffer_refuses_a_bad_layout() {
    let error = Aligned::try_new(8, 0).unwrap_err();
    assert_eq!(
        error,
        AlignedError::Layout {
            capacity: 8,
            align: 0
        }
    );
    let error = Aligned::try_new(usize::MAX, 8).unwrap_err();
    assert!(error.to_string().ends_with("too large"));
}

#[test]
#[should_panic(expected = "a length of 5 in an aligned buffer of 4 bytes")]
fn an_aligned_buffer_does_not_grow() {
    Aligned::new(4, 8).set_len(5);
}

#[test]
fn an_aligned_buffer_goes_to_another_thread() {
    let mut block = Aligned::new(4, 64);
    fill(&mut block, b"ab");
    let block = std::thread::spawn(move || block).join().unwrap();
    assert_eq!(*block, *b"ab");
}

#[cfg(feature = "arrayvec")]
#[test]
fn an_array_vec_fills_its_spare_capacity() {
    use arrayvec::ArrayVec;
    let mut vec = ArrayVec::<u8, 4>::from_iter(*b"a");
    assert_eq!(fill(&mut vec, b"bc"), 2);
    let mut window = vec.slice(1..);
    assert_eq!(fill(&mut window, b"xyzw"), 3);
    let mut vec = window.into_inner();
    assert_eq!(seen(&vec), b"axyz");
    assert_eq!(fill(&mut vec, b"b"), 0);
    assert_eq!(fill(&mut ArrayVec::<u8, 0>::new(), b"b"), 0);
}

#[cfg(feature = "arrayvec")]
#[test]
fn an_array_vec_moves_with_what_was_written() {
    let mut vec = arrayvec::ArrayVec::<u8, 4>::new();
    let (at, _) = vec.parts_mut();
    // SAFETY: four bytes of room, not touched since.
    unsafe { at.write(7) }
    let mut moved = vec;
    // SAFETY: one byte was written, and the value moved since at most (B5).
    unsafe { moved.set_filled(1) }
    assert_eq!(moved[..], [7]);
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_mut_fills_its_spare_capacity() {
    use bytes::BytesMut;
    let mut bytes = BytesMut::with_capacity(4);
    bytes.extend_from_slice(b"a");
    assert_eq!(fill(&mut bytes, b"b"), 1);
    // Over initialised bytes and spare ones alike.
    let mut window = bytes.slice(1..);
    assert_eq!(fill(&mut window, b"xyzw"), 3);
    let mut bytes = window.into_inner();
    assert_eq!(fill(&mut bytes, b"b"), 0);
    assert_eq!(seen(&bytes.freeze()), b"axyz");
    assert_eq!(fill(&mut BytesMut::new(), b"b"), 0);
}

#[cfg(feature = "bytes")]
#[test]
fn a_part_of_bytes_mut_fills_its_own_range_only() {
    let mut head = bytes::BytesMut::from(&b"abcdef"[..]);
    let tail = head.split_off(3);
    let mut window = head.slice(1..);
    assert_eq!(fill(&mut window, b"xyzw"), 2);
    assert_eq!(seen(&window.into_inner()), b"axy");
    assert_eq!(seen(&tail), b"def");
}

/// A copy that is no kernel's: it stops where the room does, in every part.
#[test]
fn copies_stay_in_the_room() {
    let mut buffers = (*b"----", vec_of(3), *b"----");
    assert_eq!(super::fill(&mut (&mut buffers.0[..2]), b"abc"), 2);
    assert_eq!(fill_all(&mut buffers, b"123456789"), 9);
    assert_eq!(buffers, (*b"1234", b"567".to_vec(), *b"89--"));
    assert_eq!(
        fill_all(&mut buffers, b"0123456789"),
        8,
        "the vector is full"
    );
    assert_eq!(fill_all(&mut [[0; 0]; 2], b"abc"), 0);
    assert_eq!(fill_all(&mut [[7; 2]; 2], b""), 0);
}

#[test]
fn a_limit_lends_the_first_bytes_only() {
    let mut one = Limit::new(vec_of(8), 3);
    assert_eq!(fill(&mut one, b"abcdef"), 3);
    assert_eq!(one.into_inner(), b"abc");
    let mut several = Limit::new((vec_of(2), vec_of(4), vec_of(4)), 3);
    let mut room = Vec::new();
    several.each_part_mut(|_, len| room.push(len));
    assert_eq!(room, [2, 1, 0]);
    assert_eq!(fill_all(&mut several, b"abcdef"), 3);
    assert_eq!(
        several.into_inner(),
        (b"ab".to_vec(), b"c".to_vec(), vec![])
    );
    assert_eq!(fill_all(&mut Limit::new([[0; 4]; 2], 0), b"abc"), 0);
}

#[test]
fn the_rest_begins_within_a_part() {
    for (done, expected) in [
        (0, "abcde"),
        (1, "bcde"),
        (2, "cde"),
        (4, "e"),
        (5, ""),
        (9, ""),
    ] {
        let rest = Rest::new(("ab", b"cd".to_vec(), "", "e"), done);
        let mut text = Vec::new();
        each_slice(&rest, |bytes| text.extend_from_slice(bytes));
        assert_eq!(text, expected.as_bytes(), "{done}");
        assert_eq!(rest.into_inner().0, "ab");
    }
}
