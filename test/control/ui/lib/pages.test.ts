import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  PAGE_ROWS,
  PAGES_MAX,
  Pages,
  pagesOf,
  rowsInSight,
} from '../../../../src/control/ui/lib/pages.js';

test('only the pages that were looked at last are held', () => {
  const pages = new Pages<number>();
  for (let page = 0; page < 100; page += 1) {
    pages.put(
      page,
      Array.from({ length: PAGE_ROWS }, (_, row) => page * PAGE_ROWS + row),
    );
  }
  assert.equal(pages.size, PAGES_MAX);
  assert.equal(pages.row(99 * PAGE_ROWS + 5), 99 * PAGE_ROWS + 5);
  assert.equal(pages.row(0), undefined);
  assert.deepEqual([pages.has(99), pages.has(0)], [true, false]);
  pages.clear();
  assert.equal(pages.row(99 * PAGE_ROWS), undefined);
});

test('what is in sight lies within the list, wherever it is scrolled to', () => {
  assert.deepEqual(rowsInSight(0, 880, 44, 10_000), [0, 28]);
  assert.deepEqual(rowsInSight(44 * 5_000, 880, 44, 10_000), [4_992, 5_028]);
  assert.deepEqual(rowsInSight(44 * 10_000, 880, 44, 10_000), [9_992, 10_000]);
  assert.deepEqual(rowsInSight(0, 880, 44, 3), [0, 3]);
  assert.deepEqual(rowsInSight(44 * 500, 880, 44, 0), [0, 0], 'the list has become shorter');
  assert.deepEqual(pagesOf(95, 105), [0, 1]);
  assert.deepEqual(pagesOf(100, 200), [1]);
  assert.deepEqual(pagesOf(0, 0), [0], 'the first is asked for, whatever there is');
});
