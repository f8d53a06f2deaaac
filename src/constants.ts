/** Limits and periods that no configuration changes; those that operators set are in `config/`. */

/** How often a worker looks whether the registry changed: changes act within a second. */
export const REGISTRY_POLL_MS = 250;
/** How often connections are checked against their time limits. */
export const SWEEP_MS = 250;
/** TCP keep-alive begins after this much silence. */
export const KEEPALIVE_DELAY_MS = 60_000;
/** How often dirty ledger rows are written to the journal. */
export const LEDGER_SYNC_MS = 100;
/** How often a live session's activity is reported for the sensor's record. */
export const ACTIVITY_MS = 5_000;

/** Entries of a worker's descriptor ring (a power of two). */
export const DESCRIPTORS = 65_536;
/** Descriptors taken in one turn of the sink side, so that its event loop stays responsive. */
export const BATCH_DESCRIPTORS_MAX = 1_024;
/** Session slots beyond `maxConnections`: ended sessions hold theirs until the ledger has them. */
export const SPARE_SESSIONS = 1_024;

/**
 * While others wait for assembly memory, a frame is given up once it is older than the grace plus
 * the time that its bytes so far would take at the slowest rate served. The grace is short for a
 * frame of a session of which nothing was verified yet: a stranger may have sent it.
 */
export const ASSEMBLY_GRACE_MS = 5_000;
export const EARLY_GRACE_MS = 1_000;
export const ASSEMBLY_RATE_MIN_BYTES_PER_SECOND = 65_536;
/**
 * The parts of the assembly budget, as divisors, that such frames may take over all: in segments, and
 * in blocks, which they get once so many bytes of them came as fill the two segments.
 */
export const EARLY_SEGMENTS_DIVISOR = 4;
export const EARLY_BLOCKS_DIVISOR = 2;
export const EARLY_SEGMENT_FIRST_BYTES = 2_048;
export const EARLY_SEGMENT_BYTES = 32_768;

/**
 * Bytes of meta headers' frames held by all sessions of a worker while they wait for their first
 * data.
 */
export const META_BYTES_TOTAL_MAX = 64 * 1024 * 1024;
export const META_HEADER_BYTES_MAX = 100_000;
/** The frames of one meta header with their headers: the longest text, cut into 4096 frames. */
export const META_HEADER_WIRE_BYTES_MAX = META_HEADER_BYTES_MAX + 4_096 * 62;

/** A shared secret that was replaced by a reload stays valid for this long. */
export const SECRET_GRACE_MS = 24 * 3_600_000;

/** A worker that died is started again after this long, doubled each time it dies early. */
export const RESTART_DELAY_MIN_MS = 500;
export const RESTART_DELAY_MAX_MS = 30_000;
/** A worker that lived this long starts again with the shortest delay. */
export const RESTART_HEALTHY_MS = 60_000;
