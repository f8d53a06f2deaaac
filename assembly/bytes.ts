// Copies of a few bytes, by the widest moves that the build has: `memory.copy` and `memory.fill` leave
// the module for the host, which costs more than these take.

/** Copies 16 bytes. */
@inline
export function copy16(to: usize, from: usize): void {
  if (ASC_FEATURE_SIMD) {
    v128.store(to, v128.load(from));
  } else {
    store<u64>(to, load<u64>(from));
    store<u64>(to, load<u64>(from, 8), 8);
  }
}

/** Copies 32 bytes. */
@inline
export function copy32(to: usize, from: usize): void {
  copy16(to, from);
  copy16(to + 16, from + 16);
}

/** Copies 64 bytes. */
@inline
export function copy64(to: usize, from: usize): void {
  copy32(to, from);
  copy32(to + 32, from + 32);
}

/** Zeros 16 bytes. */
@inline
export function zero16(to: usize): void {
  if (ASC_FEATURE_SIMD) {
    v128.store(to, i64x2.splat(0));
  } else {
    store<u64>(to, 0);
    store<u64>(to, 0, 8);
  }
}
