import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { createLogger } from '../log/logger.js';
import { PortWake } from '../ring/wait.js';
import type { ToPipeline } from './messages.js';
import { SinkSide, type SinkSideOptions } from './sink-side.js';

/** Entry of the sink thread: what `worker.ts` starts with `threads: pipelined`. */
const { options, wakePort } = workerData as { options: SinkSideOptions; wakePort: MessagePort };
const log = createLogger(options.config.log).child({ worker: options.index });
const wake = new PortWake(options.memory, 'consumer', wakePort, { keepAlive: true });
const side = new SinkSide(options, wake, log, (message) => parentPort!.postMessage(message));
parentPort!.on('message', (message: ToPipeline) => side.handle(message));
