//! What the allocator keeps.

/// Gives memory that this thread has freed back to the operating system. The allocator keeps it otherwise, in case that
/// it is needed soon: after a configuration was read, whose tree is several times what remains of it, it is not.
pub fn give_back() {
    // SAFETY: the call has no arguments that could be wrong, and may be made at any time by any thread.
    #[expect(unsafe_code, reason = "the allocator's crate has no safe call for it")]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
