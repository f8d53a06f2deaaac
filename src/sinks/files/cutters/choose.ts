import {
  TYPE_DNSCAP,
  TYPE_EXTENDED,
  TYPE_JSONL,
  TYPE_LOG,
  TYPE_PASSIVEDNS,
  TYPE_PCAP,
  TYPE_PCAPNG,
  TYPE_YAF,
} from '../../../wire/types.js';
import { type Cutter, RAW_EXT } from './cutter.js';
import { DnscapCutter } from './dnscap.js';
import { IpfixCutter } from './ipfix.js';
import { LinesCutter } from './lines.js';
import { PcapCutter } from './pcap.js';
import { PcapngCutter } from './pcapng.js';
import { RawCutter } from './raw.js';

const LINE_EXTENSIONS: Readonly<Record<number, string>> = {
  [TYPE_LOG]: 'syslog.txt',
  [TYPE_JSONL]: 'jsonl',
  [TYPE_PASSIVEDNS]: 'passivedns.txt',
  [TYPE_EXTENDED]: 'txt',
};

/** The cutter for streams of a D4 type. */
export function cutterForType(type: number): Cutter {
  switch (type) {
    case TYPE_PCAP:
      return new PcapCutter();
    case TYPE_DNSCAP:
      return new DnscapCutter();
    case TYPE_PCAPNG:
      return new PcapngCutter();
    case TYPE_YAF:
      return new IpfixCutter();
    default: {
      const ext = LINE_EXTENSIONS[type];
      return ext === undefined ? new RawCutter() : new LinesCutter(ext);
    }
  }
}

/** The cutter for a file by its extension, undefined for one that no sink writes. */
export function cutterForExtension(ext: string): Cutter | undefined {
  switch (ext) {
    case 'cap':
      return new PcapCutter();
    case 'pcapng':
      return new PcapngCutter();
    case 'yaf':
      return new IpfixCutter();
    case RAW_EXT:
      return new RawCutter();
    case 'dnscap.txt':
      return new LinesCutter(ext);
    default:
      return Object.values(LINE_EXTENSIONS).includes(ext) ? new LinesCutter(ext) : undefined;
  }
}
