import { useEffect, useRef, useState } from 'preact/hooks';
import { PAGE_ROWS, Pages, pagesOf } from '../lib/pages.js';
import { get, reasonOf, withQuery } from './api.js';
import type { Sensor, SensorPage } from './types.js';

const REFRESH_MS = 5_000;

export interface SensorQuery {
  q: string;
  state: string;
  group: string;
  type: string;
  sort: string;
  order: string;
}

export interface SensorList {
  /** Undefined before the first answer. */
  total: number | undefined;
  error: string | undefined;
  row(index: number): Sensor | undefined;
}

/** The sensors that fit, of which only those in sight are asked for, again and again. */
export function useSensorList(query: SensorQuery, from: number, to: number): SensorList {
  const pages = useRef(new Pages<Sensor>());
  const asked = useRef(0);
  const [total, setTotal] = useState<number>();
  const [error, setError] = useState<string>();
  const [, redraw] = useState(0);
  const base = withQuery('/api/v1/sensors', { ...query, limit: PAGE_ROWS });
  const wanted = pagesOf(from, to).join();

  useEffect(() => {
    asked.current += 1;
    pages.current.clear();
  }, [base]);

  useEffect(() => {
    const own = asked.current;
    const abort = new AbortController();
    const load = async (page: number) => {
      try {
        const path = `${base}&offset=${page * PAGE_ROWS}`;
        const answer = await get<SensorPage>(path, abort.signal);
        if (own !== asked.current || abort.signal.aborted) return;
        pages.current.put(page, answer.sensors);
        setTotal(answer.total);
        setError(undefined);
        redraw((count) => count + 1);
      } catch (reason) {
        if (!abort.signal.aborted) setError(reasonOf(reason));
      }
    };
    const inSight = wanted.split(',').map(Number);
    for (const page of inSight) if (!pages.current.has(page)) void load(page);
    const timer = setInterval(() => {
      if (document.hidden) return;
      for (const page of inSight) void load(page);
    }, REFRESH_MS);
    return () => {
      clearInterval(timer);
      abort.abort();
    };
  }, [base, wanted]);

  return { total, error, row: (index) => pages.current.row(index) };
}
