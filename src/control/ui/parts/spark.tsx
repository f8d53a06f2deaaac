const WIDTH = 96;
const HEIGHT = 22;
/** Steps that the gateway tells of. */
const STEPS = 23;

/** The last two minutes of a rate, without figures: those stand beside it. */
export function Spark({ values, label }: { values: readonly number[]; label: string }) {
  // The newest step is still under way.
  const whole = values.slice(0, -1);
  const max = Math.max(...whole, 1);
  const offset = STEPS - whole.length;
  const points = whole.map((value, index) => {
    const x = ((offset + index) / (STEPS - 1)) * WIDTH;
    const y = HEIGHT - 1 - (value / max) * (HEIGHT - 3);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      {points.length > 1 && <polyline points={points.join(' ')} />}
    </svg>
  );
}
