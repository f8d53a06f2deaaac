import { UNVERIFIED_SENSOR } from '../ledger/totals.js';
import { FLOW_MS, type Flow } from './messages.js';

/** Windows of a sensor that are kept: two minutes. */
export const WINDOWS = 24;
/** Sensors kept; the one that was quiet for longest goes first. */
export const SENSORS_MAX = 50_000;

/** What one sensor sent of late. */
interface Meter {
  /** Number of the window that `bytes[number % WINDOWS]` is of; older ones lie before it. */
  window: number;
  bytes: Float64Array;
  frames: Float64Array;
  /** D4 types seen since the gateway began. */
  types: Set<number>;
  lastAt: number;
}

export interface SensorRate {
  bytesPerSecond: number;
  framesPerSecond: number;
  /** Bytes per second by window of 5 s, oldest first. */
  recent: number[];
  types: number[];
  /** Ms since the epoch. */
  lastAt: number;
}

const SECONDS = FLOW_MS / 1000;

/** The rates of sensors, from what their sessions add. */
export class FlowMeter {
  readonly #meters = new Map<string, Meter>();
  readonly #max: number;

  constructor(max = SENSORS_MAX) {
    this.#max = max;
  }

  take(flow: readonly Flow[], at: number): void {
    const window = Math.floor(at / FLOW_MS);
    for (const [, sensor, type, frames, bytes] of flow) {
      if (sensor === UNVERIFIED_SENSOR) continue;
      const meter = this.#meter(sensor, window);
      meter.bytes[window % WINDOWS]! += bytes;
      meter.frames[window % WINDOWS]! += frames;
      meter.types.add(type);
      if (frames > 0) meter.lastAt = at;
    }
  }

  /** When a frame of the sensor was last heard of, ms since the epoch. */
  lastAt(sensor: string): number | undefined {
    return this.#meters.get(sensor)?.lastAt;
  }

  /** The rate of the last whole window, or of the one at hand where that has more. */
  rateOf(sensor: string, now: number): SensorRate | undefined {
    const meter = this.#meters.get(sensor);
    if (!meter) return undefined;
    const window = Math.floor(now / FLOW_MS);
    const at = (values: Float64Array, number: number) =>
      number > meter.window || number <= meter.window - WINDOWS ? 0 : values[number % WINDOWS]!;
    const rate = (values: Float64Array) =>
      Math.max(at(values, window), at(values, window - 1)) / SECONDS;
    return {
      bytesPerSecond: rate(meter.bytes),
      framesPerSecond: rate(meter.frames),
      recent: Array.from(
        { length: WINDOWS },
        (_, index) => at(meter.bytes, window - WINDOWS + 1 + index) / SECONDS,
      ),
      types: [...meter.types].sort((a, b) => a - b),
      lastAt: meter.lastAt,
    };
  }

  #meter(sensor: string, window: number): Meter {
    let meter = this.#meters.get(sensor);
    if (meter) {
      this.#meters.delete(sensor);
    } else {
      if (this.#meters.size >= this.#max) {
        this.#meters.delete(this.#meters.keys().next().value!);
      }
      const bytes = new Float64Array(WINDOWS);
      const frames = new Float64Array(WINDOWS);
      meter = { window, bytes, frames, types: new Set(), lastAt: 0 };
    }
    this.#meters.set(sensor, meter);
    const passed = Math.min(window - meter.window, WINDOWS);
    for (let step = 1; step <= passed; step += 1) {
      const index = (meter.window + step) % WINDOWS;
      meter.bytes[index] = 0;
      meter.frames[index] = 0;
    }
    // After a long silence every window is empty.
    if (window > meter.window) meter.window = window;
    return meter;
  }
}
