import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

export interface Column<Row> {
  /** Unique in its table. */
  name: string;
  cell: (row: Row) => ComponentChildren;
  /** Figures stand under each other at the right. */
  isNumber?: boolean;
  /** Left out where there is little room: first `2`, then `1`. */
  priority?: 1 | 2;
}

/** A table of few rows. The caption is for who cannot see the heading above it. */
export function Table<Row>(props: {
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
  empty: ComponentChildren;
}) {
  const { caption, columns, rows, keyOf, empty } = props;
  const wrap = useScrollable();
  if (rows.length === 0) return <div class="empty">{empty}</div>;
  return (
    <div class="table-wrap" ref={wrap}>
      <table class="table">
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ name, isNumber, priority }) => (
              <th key={name} scope="col" class={classOf(isNumber, priority)}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)}>
              {columns.map(({ name, cell, isNumber, priority }) => (
                <td key={name} class={classOf(isNumber, priority)}>
                  {cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function classOf(isNumber = false, priority: 1 | 2 | undefined = undefined): string {
  return `${isNumber ? 'num' : ''} ${priority === undefined ? '' : `p${priority}`}`.trim();
}

/** A table that is wider than its place has to be reached by the keyboard, to be scrolled. */
function useScrollable() {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const look = () => {
      if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
      else element.removeAttribute('tabindex');
    };
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return ref;
}
