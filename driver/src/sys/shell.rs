//! The backend of a build that has none: no value of it exists.
//!
//! It is the list of what a backend must provide, checked by the compiler; begin a new one with a
//! copy of it.
#![allow(clippy::unused_self, reason = "the signatures are the contract")]
#![allow(unsafe_code, reason = "the signatures are the contract")]

use super::fd::RawFd;
use super::{Block, Which};
use crate::builder::{Limits, Support};
use crate::clock::Instant;
use crate::driver::Full;
use crate::error::SetupError;
use crate::key::{Completion, Key};
use crate::local::Core;
use crate::op::{OpCode, OpHead};
use crate::outlet::Outlet;
use std::io;
use std::ptr::NonNull;

#[derive(Debug)]
pub(crate) enum Shell {}

impl Shell {
    pub(crate) fn new(_: &Limits, _: &Core) -> Result<Self, SetupError> {
        Err(SetupError::NotCompiled(None))
    }

    pub(crate) fn granted(&self) -> Vec<(&'static str, String)> {
        match *self {}
    }

    pub(crate) fn operations(&self) -> Vec<(&'static str, Support)> {
        match *self {}
    }

    pub(crate) fn capacity_left(&self) -> u32 {
        match *self {}
    }

    /// # Safety
    /// The operation is not in flight.
    pub(crate) unsafe fn push(&mut self, _: &mut Core, _: NonNull<OpHead>, _: Key) {
        match *self {}
    }

    /// # Safety
    /// The operation is not in flight.
    pub(crate) unsafe fn push_typed<O: OpCode>(&mut self, _: &mut Core, _: NonNull<O>, _: Key) {
        match *self {}
    }

    pub(crate) fn cancel(&mut self, _: &mut Core, _: Which) -> Result<(), Full<()>> {
        match *self {}
    }

    /// # Safety
    /// As for every backend: what was pushed stays where it was.
    pub(crate) unsafe fn turn(&mut self, _: &mut Core, _: Block) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn available(&self, _: &Core) -> usize {
        match *self {}
    }

    pub(crate) fn next(&mut self, _: &mut Core) -> Option<Completion> {
        match *self {}
    }

    pub(crate) fn shut_down<T: Outlet>(&mut self, _: &mut Core, _: &mut T) {
        match *self {}
    }

    pub(crate) fn attach(&mut self, _: &mut Core, _: RawFd) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn detach(&mut self, _: &mut Core, _: RawFd) {
        match *self {}
    }

    pub(crate) fn register(&mut self, _: &mut Core, _: &[RawFd], _: u32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn unregister(&mut self, _: &mut Core, _: u32) -> io::Result<()> {
        match *self {}
    }

    /// # Safety
    /// As [`turn`](Self::turn).
    pub(crate) unsafe fn prepare_wait(&mut self, _: &mut Core) -> io::Result<Option<Instant>> {
        match *self {}
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        match *self {}
    }
}
