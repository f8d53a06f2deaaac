// What one instance knows. Several threads instantiate this module over one memory, so everything
// that changes lives in wasm globals (one set an instance) or in the instance's own scratch; the
// only static data is SHA-256's table, and each instantiation writes it with the same bytes.
//
// The scratch, 16 KiB:
//
//   0         64         320       448     480      512       640       1664    1760   1824  4096
//   ┌─────────┬──────────┬─────────┬───────┬────────┬─────────┬─────────┬───────┬──────┬─────┬───────┐
//   │ results │ schedule │ states  │ state │ digest │ lanes   │ stages  │ saved │ inner│     │ input │
//   │ of scan │ 16 × v128│ 8 × v128│ 32    │ 32     │ 4 × 32  │ 4 × 256 │ 96    │ 64   │     │       │
//   └─────────┴──────────┴─────────┴───────┴────────┴─────────┴─────────┴───────┴──────┴─────┴───────┘
//
// `input` is the host's: it puts keys and messages there that are not in the memory already; and
// the first half of `inner`, where it puts a digest of its own (pad.ts).
export const SCRATCH_SCHEDULE: usize = 64;
export const SCRATCH_STATES: usize = 320;
export const SCRATCH_STATE: usize = 448;
export const SCRATCH_DIGEST: usize = 480;
export const SCRATCH_LANES: usize = 512;
export const SCRATCH_STAGES: usize = 640;
export const SCRATCH_SAVED: usize = 1664;
export const SCRATCH_INNER: usize = 1760;
export const SCRATCH_INPUT: usize = 4096;

// A stage holds the blocks of a message that cannot be hashed where they lie: the first (its HMAC
// field is zeroed), the last one or two (padded), and the outer hash's block.
export const STAGE_BYTES: usize = 256;
export const STAGE_HEAD: usize = 0;
export const STAGE_TAIL: usize = 64;
export const STAGE_OUTER: usize = 192;

export let scratch: usize = 0;
export let sessionBase: usize = 0;
export let keyBase: usize = 0;
export let descriptorBase: usize = 0;
export let descriptorMask: u32 = 0;
export let typesBase: usize = 0;
export let maxPayload: u32 = 0;
/** Up to here a vector may be read that begins within a message and ends beyond it. */
export let vectorsEnd: usize = 0;

/** Says where everything is. Called once, before anything else. */
export function init(
  scratchAt: usize,
  sessionsAt: usize,
  keysAt: usize,
  descriptorsAt: usize,
  mask: u32,
  typesAt: usize,
  maxPayloadBytes: u32,
): void {
  scratch = scratchAt;
  sessionBase = sessionsAt;
  keyBase = keysAt;
  descriptorBase = descriptorsAt;
  descriptorMask = mask;
  typesBase = typesAt;
  maxPayload = maxPayloadBytes;
  vectorsEnd = <usize>((<u64>memory.size() << 16) - 16);
}
