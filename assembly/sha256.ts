// SHA-256 of one message (FIPS 180-4, 6.2).

/** The round constants; sha256x4 reads them too. Never written after instantiation. */
export const K: usize = memory.data<u32>([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
], 64);

/** Sets a state of 8 words to SHA-256's initial value. */
export function startHash(state: usize): void {
  store<u32>(state, 0x6a09e667, 0);
  store<u32>(state, 0xbb67ae85, 4);
  store<u32>(state, 0x3c6ef372, 8);
  store<u32>(state, 0xa54ff53a, 12);
  store<u32>(state, 0x510e527f, 16);
  store<u32>(state, 0x9b05688c, 20);
  store<u32>(state, 0x1f83d9ab, 24);
  store<u32>(state, 0x5be0cd19, 28);
}

/** Advances a state by `blocks` blocks of 64 bytes from `at`. */
export function hashBlocks(state: usize, at: usize, blocks: u32): void {
  let a = load<u32>(state, 0);
  let b = load<u32>(state, 4);
  let c = load<u32>(state, 8);
  let d = load<u32>(state, 12);
  let e = load<u32>(state, 16);
  let f = load<u32>(state, 20);
  let g = load<u32>(state, 24);
  let h = load<u32>(state, 28);
  for (; blocks != 0; --blocks) {
    let w0 = bswap(load<u32>(at, 0));
    let w1 = bswap(load<u32>(at, 4));
    let w2 = bswap(load<u32>(at, 8));
    let w3 = bswap(load<u32>(at, 12));
    let w4 = bswap(load<u32>(at, 16));
    let w5 = bswap(load<u32>(at, 20));
    let w6 = bswap(load<u32>(at, 24));
    let w7 = bswap(load<u32>(at, 28));
    let w8 = bswap(load<u32>(at, 32));
    let w9 = bswap(load<u32>(at, 36));
    let w10 = bswap(load<u32>(at, 40));
    let w11 = bswap(load<u32>(at, 44));
    let w12 = bswap(load<u32>(at, 48));
    let w13 = bswap(load<u32>(at, 52));
    let w14 = bswap(load<u32>(at, 56));
    let w15 = bswap(load<u32>(at, 60));
    h = t1(e, f, g, h, w0, load<u32>(K, 0)); d = d + h; h = h + t2(a, b, c);
    g = t1(d, e, f, g, w1, load<u32>(K, 4)); c = c + g; g = g + t2(h, a, b);
    f = t1(c, d, e, f, w2, load<u32>(K, 8)); b = b + f; f = f + t2(g, h, a);
    e = t1(b, c, d, e, w3, load<u32>(K, 12)); a = a + e; e = e + t2(f, g, h);
    d = t1(a, b, c, d, w4, load<u32>(K, 16)); h = h + d; d = d + t2(e, f, g);
    c = t1(h, a, b, c, w5, load<u32>(K, 20)); g = g + c; c = c + t2(d, e, f);
    b = t1(g, h, a, b, w6, load<u32>(K, 24)); f = f + b; b = b + t2(c, d, e);
    a = t1(f, g, h, a, w7, load<u32>(K, 28)); e = e + a; a = a + t2(b, c, d);
    h = t1(e, f, g, h, w8, load<u32>(K, 32)); d = d + h; h = h + t2(a, b, c);
    g = t1(d, e, f, g, w9, load<u32>(K, 36)); c = c + g; g = g + t2(h, a, b);
    f = t1(c, d, e, f, w10, load<u32>(K, 40)); b = b + f; f = f + t2(g, h, a);
    e = t1(b, c, d, e, w11, load<u32>(K, 44)); a = a + e; e = e + t2(f, g, h);
    d = t1(a, b, c, d, w12, load<u32>(K, 48)); h = h + d; d = d + t2(e, f, g);
    c = t1(h, a, b, c, w13, load<u32>(K, 52)); g = g + c; c = c + t2(d, e, f);
    b = t1(g, h, a, b, w14, load<u32>(K, 56)); f = f + b; b = b + t2(c, d, e);
    a = t1(f, g, h, a, w15, load<u32>(K, 60)); e = e + a; a = a + t2(b, c, d);
    for (let table: usize = K + 64; table != K + 256; table += 64) {
      w0 = next(w0, w1, w9, w14);
      h = t1(e, f, g, h, w0, load<u32>(table, 0)); d = d + h; h = h + t2(a, b, c);
      w1 = next(w1, w2, w10, w15);
      g = t1(d, e, f, g, w1, load<u32>(table, 4)); c = c + g; g = g + t2(h, a, b);
      w2 = next(w2, w3, w11, w0);
      f = t1(c, d, e, f, w2, load<u32>(table, 8)); b = b + f; f = f + t2(g, h, a);
      w3 = next(w3, w4, w12, w1);
      e = t1(b, c, d, e, w3, load<u32>(table, 12)); a = a + e; e = e + t2(f, g, h);
      w4 = next(w4, w5, w13, w2);
      d = t1(a, b, c, d, w4, load<u32>(table, 16)); h = h + d; d = d + t2(e, f, g);
      w5 = next(w5, w6, w14, w3);
      c = t1(h, a, b, c, w5, load<u32>(table, 20)); g = g + c; c = c + t2(d, e, f);
      w6 = next(w6, w7, w15, w4);
      b = t1(g, h, a, b, w6, load<u32>(table, 24)); f = f + b; b = b + t2(c, d, e);
      w7 = next(w7, w8, w0, w5);
      a = t1(f, g, h, a, w7, load<u32>(table, 28)); e = e + a; a = a + t2(b, c, d);
      w8 = next(w8, w9, w1, w6);
      h = t1(e, f, g, h, w8, load<u32>(table, 32)); d = d + h; h = h + t2(a, b, c);
      w9 = next(w9, w10, w2, w7);
      g = t1(d, e, f, g, w9, load<u32>(table, 36)); c = c + g; g = g + t2(h, a, b);
      w10 = next(w10, w11, w3, w8);
      f = t1(c, d, e, f, w10, load<u32>(table, 40)); b = b + f; f = f + t2(g, h, a);
      w11 = next(w11, w12, w4, w9);
      e = t1(b, c, d, e, w11, load<u32>(table, 44)); a = a + e; e = e + t2(f, g, h);
      w12 = next(w12, w13, w5, w10);
      d = t1(a, b, c, d, w12, load<u32>(table, 48)); h = h + d; d = d + t2(e, f, g);
      w13 = next(w13, w14, w6, w11);
      c = t1(h, a, b, c, w13, load<u32>(table, 52)); g = g + c; c = c + t2(d, e, f);
      w14 = next(w14, w15, w7, w12);
      b = t1(g, h, a, b, w14, load<u32>(table, 56)); f = f + b; b = b + t2(c, d, e);
      w15 = next(w15, w0, w8, w13);
      a = t1(f, g, h, a, w15, load<u32>(table, 60)); e = e + a; a = a + t2(b, c, d);
    }
    a += load<u32>(state, 0); store<u32>(state, a, 0);
    b += load<u32>(state, 4); store<u32>(state, b, 4);
    c += load<u32>(state, 8); store<u32>(state, c, 8);
    d += load<u32>(state, 12); store<u32>(state, d, 12);
    e += load<u32>(state, 16); store<u32>(state, e, 16);
    f += load<u32>(state, 20); store<u32>(state, f, 20);
    g += load<u32>(state, 24); store<u32>(state, g, 24);
    h += load<u32>(state, 28); store<u32>(state, h, 28);
    at += 64;
  }
}

/** Writes a state as the 32 bytes of a digest. */
export function storeDigest(state: usize, to: usize): void {
  for (let i: usize = 0; i != 32; i += 4) store<u32>(to + i, bswap(load<u32>(state + i)));
}

@inline
function t1(e: u32, f: u32, g: u32, h: u32, w: u32, k: u32): u32 {
  return h + w + k + (((f ^ g) & e) ^ g) + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25));
}

@inline
function t2(a: u32, b: u32, c: u32): u32 {
  return (((a ^ b) & (b ^ c)) ^ b) + (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22));
}

/** The schedule's word 16 places after `w0`. */
@inline
function next(w0: u32, w1: u32, w9: u32, w14: u32): u32 {
  return w0 + (rotr(w1, 7) ^ rotr(w1, 18) ^ (w1 >> 3)) + w9
    + (rotr(w14, 17) ^ rotr(w14, 19) ^ (w14 >> 10));
}
