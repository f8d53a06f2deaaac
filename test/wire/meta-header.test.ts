import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { META_HEADER_BYTES_MAX } from '../../src/constants.js';
import { parseMetaHeader } from '../../src/wire/meta-header.js';
import { Reject } from '../../src/wire/reject.js';

function outcome(text: string | Uint8Array, accepted: readonly string[] = ['*']): string | number {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  const parsed = parseMetaHeader(bytes, accepted);
  return 'reject' in parsed ? parsed.reject : parsed.type;
}

/** Pads a good meta header with white space to a size. */
const padded = (size: number) => `{"type":"a"}${' '.repeat(size - 12)}`;

describe('parseMetaHeader', () => {
  it('reads the published example, white space and a final newline around it', () => {
    const example =
      '{"type":"ja3-jl","encoding":"utf-8","tags":["tlp:white"],"misp:org":"5b642239-4db4-4580-adf4-4ebd950d210f"}';
    assert.equal(outcome(example, ['ja3-jl']), 'ja3-jl');
    assert.equal(outcome(` \t\r\n${example}\n\n`), 'ja3-jl');
  });

  const table: [string, string | Uint8Array, string | number][] = [
    ['nothing', '', Reject.META_NOT_JSON],
    ['white space', ' \n', Reject.META_NOT_JSON],
    ['an array', '["type"]', Reject.META_NOT_JSON],
    ['null', 'null', Reject.META_NOT_JSON],
    ['a string', '"type"', Reject.META_NOT_JSON],
    ['two objects', '{"type":"a"}{"type":"b"}', Reject.META_NOT_JSON],
    ['half an object', '{"type":"a"', Reject.META_NOT_JSON],
    ['a byte order mark', '\ufeff{"type":"a"}', Reject.META_NOT_JSON],
    ['a trailing NUL', '{"type":"a"}\0', Reject.META_NOT_JSON],
    ['broken UTF-8', Buffer.from('{"type":"a","x":"\xff"}', 'latin1'), Reject.META_NOT_JSON],
    ['UTF-16', Buffer.from('{"type":"a"}', 'utf16le'), Reject.META_NOT_JSON],
    ['an empty object', '{}', Reject.META_NO_TYPE],
    ['a number as type', '{"type":1}', Reject.META_NO_TYPE],
    ['null as type', '{"type":null}', Reject.META_NO_TYPE],
    ['an empty type', '{"type":""}', Reject.META_NO_TYPE],
    ['a type in the prototype', '{"__proto__":{"type":"a"}}', Reject.META_NO_TYPE],
    ['a prototype beside it', '{"__proto__":{"type":"b"},"type":"a"}', 'a'],
    ['a key given twice', '{"type":"a","type":"b"}', 'b'],
    ['a key given twice, badly', '{"type":"a","type":"../b"}', Reject.META_NO_TYPE],
    ['the longest type', `{"type":"${'a'.repeat(64)}"}`, 'a'.repeat(64)],
    ['a longer type', `{"type":"${'a'.repeat(65)}"}`, Reject.META_NO_TYPE],
    ['the longest text', padded(META_HEADER_BYTES_MAX), 'a'],
    ['a longer text', padded(META_HEADER_BYTES_MAX + 1), Reject.META_TOO_LONG],
    ['nesting', `{"type":"a","x":${'['.repeat(40_000)}${']'.repeat(40_000)}}`, 'a'],
    ['nesting left open', '['.repeat(META_HEADER_BYTES_MAX), Reject.META_NOT_JSON],
  ];
  for (const [name, text, expected] of table) {
    it(`takes or refuses: ${name}`, () => assert.equal(outcome(text), expected));
  }

  it('takes only types that are safe as a directory name', () => {
    const hostile = ['.', '..', '../a', 'a/b', 'a\\b', '-rf', ' a', 'a\n', 'a\0', 'é', '~', '.a'];
    for (const type of hostile) {
      assert.equal(outcome(JSON.stringify({ type })), Reject.META_NO_TYPE, JSON.stringify(type));
    }
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 70 }), (type) => {
        const taken = outcome(JSON.stringify({ type }));
        if (taken === type) assert.match(type, /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)/);
        else assert.equal(taken, Reject.META_NO_TYPE);
      }),
    );
  });

  it('takes only types that are accepted', () => {
    assert.equal(outcome('{"type":"a"}', ['b', 'a']), 'a');
    assert.equal(outcome('{"type":"a"}', ['b']), Reject.META_TYPE_NOT_ACCEPTED);
    assert.equal(outcome('{"type":"a"}', []), Reject.META_TYPE_NOT_ACCEPTED);
  });

  it('reads from shared memory, and gives no byte of what it refuses', () => {
    const text = Buffer.from('{"type":"ja3-jl"}');
    const shared = new Uint8Array(new SharedArrayBuffer(text.length));
    shared.set(text);
    assert.equal(outcome(shared), 'ja3-jl');
    const parsed = parseMetaHeader(Buffer.from('{"secret": oops'), ['*']);
    assert.ok('reject' in parsed && !parsed.detail.includes('secret'));
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.json().map(Buffer.from)), (bytes) => {
        const parsed = parseMetaHeader(bytes as Uint8Array, ['*']);
        assert.ok('type' in parsed !== 'reject' in parsed);
      }),
    );
  });
});
