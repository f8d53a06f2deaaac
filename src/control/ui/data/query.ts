import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, get, reasonOf } from './api.js';

export interface Query<T> {
  /** The newest answer; kept while the next is asked for. */
  data: T | undefined;
  error: string | undefined;
  status: number | undefined;
  /** Asks again now. */
  refresh: () => Promise<void>;
}

/**
 * What a path answers, asked again every so often while somebody looks.
 * @param path undefined: nothing is asked
 */
export function useQuery<T>(path: string | undefined, everyMs = 0): Query<T> {
  const [found, setFound] = useState<{ path: string | undefined; data?: T; error?: unknown }>({
    path,
  });
  const running = useRef<AbortController | undefined>(undefined);

  const refresh = useCallback(async () => {
    running.current?.abort();
    if (path === undefined) return;
    const own = new AbortController();
    running.current = own;
    try {
      const data = await get<T>(path, own.signal);
      if (!own.signal.aborted) setFound({ path, data });
    } catch (error) {
      if (own.signal.aborted) return;
      setFound((before) => (before.path === path ? { ...before, error } : { path, error }));
    }
  }, [path]);

  useEffect(() => {
    void refresh();
    const timer =
      everyMs > 0
        ? setInterval(() => {
            if (!document.hidden) void refresh();
          }, everyMs)
        : undefined;
    return () => {
      clearInterval(timer);
      running.current?.abort();
    };
  }, [refresh, everyMs]);

  const { error } = found;
  return {
    data: found.data,
    error: error === undefined ? undefined : reasonOf(error),
    status: error instanceof ApiError ? error.status : undefined,
    refresh,
  };
}
