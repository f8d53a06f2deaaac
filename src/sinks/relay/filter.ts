import type { MetaHeader } from '../sink.js';

/** What a relay lets leave. Every key that is there has to match. */
export interface RelayFilter {
  types?: readonly number[] | undefined;
  /** UUIDs, lower case with hyphens; `*` takes all. */
  sensors?: readonly string[] | undefined;
  /** Of type 254 streams; other types have none and are not held against it. */
  metaTypes?: readonly string[] | undefined;
  /** TLP tags, such as `tlp:green`, with which a stream may leave. */
  tlp: readonly string[];
}

/** Why a stream does not leave; `tlp-red` and the like name the tag. */
export type FilterReason = 'type' | 'sensor' | 'meta-type' | 'loop' | `tlp-${string}`;

const EVERY = '*';
const TLP = /^tlp:/;
/** A reason is a name in the ledger: what a sensor wrote is kept short and plain. */
const REASON_CHARS_MAX = 24;

/**
 * Decides whether a stream may leave, once, when it opens.
 *
 * TLP (FIRST, version 2.0) is read from the `tags` of the meta header. A stream with several such
 * tags needs all of them allowed; one without any leaves, for nobody restricted it.
 */
export function filterReason(
  stream: { sensor: string; type: number; meta?: MetaHeader | undefined },
  filter: RelayFilter,
): FilterReason | undefined {
  const { types, sensors, metaTypes, tlp } = filter;
  if (types && !types.includes(stream.type)) return 'type';
  if (sensors && !sensors.includes(EVERY) && !sensors.includes(stream.sensor)) return 'sensor';
  const { meta } = stream;
  if (!meta) return undefined;
  if (metaTypes && !metaTypes.includes(EVERY) && !metaTypes.includes(meta.type)) {
    return 'meta-type';
  }
  const refused = tlpTags(meta.bytes).find((tag) => !tlp.includes(tag));
  if (refused === undefined) return undefined;
  const name = refused.slice(4, 4 + REASON_CHARS_MAX).replace(/[^a-z0-9+]/g, '_');
  return `tlp-${name}`;
}

/**
 * The TLP tags of a meta header, lower case without blanks. A tag is a text, or an object with a
 * `name`, as MISP writes them; `tags` may be one of those too.
 */
export function tlpTags(metaHeader: Buffer): string[] {
  const { tags } = JSON.parse(metaHeader.toString('utf8')) as { tags?: unknown };
  const found: string[] = [];
  for (const tag of Array.isArray(tags) ? tags : [tags]) {
    const name: unknown = typeof tag === 'object' && tag !== null ? tag.name : tag;
    if (typeof name !== 'string') continue;
    const plain = name.toLowerCase().replace(/\s/g, '');
    if (TLP.test(plain)) found.push(plain);
  }
  return found;
}
