// One surface for both builds; all addresses and lengths are unsigned bytes of the shared memory.
export { init } from './instance';
export { scan } from './scan';
export { lanes, verify } from './verify';
export { equal32, hmac, hmacFrame, setKey, sha256 } from './hmac';
export { layPad, liftPad } from './pad';
