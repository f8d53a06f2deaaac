import { copyOf, u16 } from './cutter.js';

/** A stream whose templates come to more is cut no more. */
export const TEMPLATE_BYTES_MAX = 64 * 1024;
export const TEMPLATES_MAX = 1024;

const VERSION = 10;
const MESSAGE_HEADER_BYTES = 16;
const SET_HEADER_BYTES = 4;
const MESSAGE_BYTES_MAX = 65_535;
const TEMPLATE_SET = 2;
const OPTIONS_TEMPLATE_SET = 3;
const TEMPLATE_ID_MIN = 256;
const ENTERPRISE_BIT = 0x8000;

interface Template {
  setId: number;
  record: Uint8Array;
}

/** The templates in force: for each observation domain, by their id, as they came. */
export class TemplateStore {
  /** More templates came than are kept: they can't be repeated any more. */
  overflowed = false;
  readonly #domains = new Map<number, Map<number, Template>>();
  /** The last sequence number heard of each domain that has templates. */
  readonly #sequences = new Map<number, number>();
  #lastSequence = 0;
  #bytes = 0;
  #count = 0;

  /** Notes the sequence number of a domain's message, before its sets. */
  heard(domain: number, sequence: number): void {
    this.#lastSequence = sequence;
    if (this.#domains.has(domain)) this.#sequences.set(domain, sequence);
  }

  /** Takes the records of one template set (RFC 7011, sections 3.4.1, 3.4.2 and 8.1). */
  take(domain: number, setId: number, set: Uint8Array): void {
    let at = 0;
    // What is too short for a record is padding, and so are zeros.
    while (!this.overflowed && at + 4 <= set.length) {
      const id = u16(set, at, false);
      const fields = u16(set, at + 2, false);
      if (fields === 0) {
        if (id < TEMPLATE_ID_MIN && id !== setId) return;
        this.#withdraw(domain, setId, id);
        at += 4;
        continue;
      }
      const end = endOfRecord(set, at, setId, fields);
      if (id < TEMPLATE_ID_MIN || end < 0) return;
      this.#put(domain, setId, id, copyOf(set, at, end));
      at = end;
    }
  }

  /** One message or more for each domain, bringing all its templates. */
  messages(next: { exportTime: number; sequence: number; domain: number }): Uint8Array {
    const messages: Uint8Array[] = [];
    for (const [domain, templates] of this.#domains) {
      const sequence = domain === next.domain ? next.sequence : this.#sequences.get(domain);
      const header = { ...next, domain, sequence: sequence ?? 0 };
      for (const setId of [TEMPLATE_SET, OPTIONS_TEMPLATE_SET]) {
        const records = [...templates.values()].filter((template) => template.setId === setId);
        for (const message of pack(header, setId, records)) messages.push(message);
      }
    }
    return Buffer.concat(messages);
  }

  #put(domain: number, setId: number, id: number, record: Uint8Array): void {
    const templates = this.#domains.get(domain) ?? new Map<number, Template>();
    this.#domains.set(domain, templates);
    this.#sequences.set(domain, this.#lastSequence);
    this.#remove(templates, id);
    templates.set(id, { setId, record });
    this.#bytes += record.length;
    this.#count += 1;
    if (this.#bytes <= TEMPLATE_BYTES_MAX && this.#count <= TEMPLATES_MAX) return;
    this.overflowed = true;
    this.#domains.clear();
    this.#sequences.clear();
  }

  #withdraw(domain: number, setId: number, id: number): void {
    const templates = this.#domains.get(domain);
    if (templates === undefined) return;
    for (const [known, template] of [...templates]) {
      if (known === id || (id === setId && template.setId === setId)) {
        this.#remove(templates, known);
      }
    }
    if (templates.size > 0) return;
    this.#domains.delete(domain);
    this.#sequences.delete(domain);
  }

  #remove(templates: Map<number, Template>, id: number): void {
    const template = templates.get(id);
    if (template === undefined) return;
    templates.delete(id);
    this.#bytes -= template.record.length;
    this.#count -= 1;
  }
}

/** Where a template record of `fields` fields ends; −1 where the set is too short for it. */
function endOfRecord(set: Uint8Array, from: number, setId: number, fields: number): number {
  let at = from + (setId === OPTIONS_TEMPLATE_SET ? 6 : 4);
  for (let field = 0; field < fields; field += 1) {
    if (at + 4 > set.length) return -1;
    at += (u16(set, at, false) & ENTERPRISE_BIT) === 0 ? 4 : 8;
  }
  return at <= set.length ? at : -1;
}

interface MessageHeader {
  exportTime: number;
  sequence: number;
  domain: number;
}

/** Messages of one set each that hold all the records. */
function pack(header: MessageHeader, setId: number, records: readonly Template[]): Buffer[] {
  const messages: Buffer[] = [];
  let batch: Uint8Array[] = [];
  let bytes = MESSAGE_HEADER_BYTES + SET_HEADER_BYTES;
  for (const { record } of records) {
    if (bytes + record.length > MESSAGE_BYTES_MAX) {
      messages.push(message(header, setId, batch, bytes));
      batch = [];
      bytes = MESSAGE_HEADER_BYTES + SET_HEADER_BYTES;
    }
    batch.push(record);
    bytes += record.length;
  }
  if (batch.length > 0) messages.push(message(header, setId, batch, bytes));
  return messages;
}

function message(
  header: MessageHeader,
  setId: number,
  records: readonly Uint8Array[],
  bytes: number,
): Buffer {
  const head = Buffer.alloc(MESSAGE_HEADER_BYTES + SET_HEADER_BYTES);
  head.writeUInt16BE(VERSION, 0);
  head.writeUInt16BE(bytes, 2);
  head.writeUInt32BE(header.exportTime, 4);
  head.writeUInt32BE(header.sequence, 8);
  head.writeUInt32BE(header.domain, 12);
  head.writeUInt16BE(setId, MESSAGE_HEADER_BYTES);
  head.writeUInt16BE(bytes - MESSAGE_HEADER_BYTES, MESSAGE_HEADER_BYTES + 2);
  return Buffer.concat([head, ...records]);
}
