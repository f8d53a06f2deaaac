/**
 * The D4 frame, version 1 (WIRE: the published encapsulation format). All integers little-endian.
 *
 *      0    1    2                 18          26                    58      62
 *      ┌────┬────┬─────────────────┬───────────┬─────────────────────┬───────┬─────────┐
 *      │ver │type│ uuid (16)       │ time (8)  │ hmac (32)           │size(4)│ payload │
 *      └────┴────┴─────────────────┴───────────┴─────────────────────┴───────┴─────────┘
 *
 * `assembly/layout.ts` holds the same numbers; a test keeps the two equal.
 */
export const PROTOCOL_VERSION = 1;
export const OFFSET_VERSION = 0;
export const OFFSET_TYPE = 1;
export const OFFSET_UUID = 2;
export const UUID_BYTES = 16;
export const OFFSET_TIMESTAMP = 18;
export const OFFSET_HMAC = 26;
export const HMAC_BYTES = 32;
export const OFFSET_SIZE = 58;
export const HEADER_BYTES = 62;
