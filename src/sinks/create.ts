import type { SinkConfig } from '../config/schema.js';
import { ArchiveSink } from './archive/archive-sink.js';
import { BlackholeSink } from './blackhole.js';
import { FilesSink } from './files/files-sink.js';
import { createRelay } from './relay/create.js';
import type { Sink, SinkHost } from './sink.js';

/** A sink as the configuration describes it. */
export function createSink(name: string, config: SinkConfig, host: SinkHost): Sink {
  switch (config.kind) {
    case 'files':
      return new FilesSink(name, config, host);
    case 'archive':
      return new ArchiveSink(name, config, host);
    case 'relay':
      return createRelay(name, config, host);
    case 'blackhole':
      return new BlackholeSink(name, host);
  }
}
