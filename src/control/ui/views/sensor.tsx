import { Title } from '../parts/basics.js';

export function SensorPage({ uuid }: { uuid: string }) {
  return <Title text={uuid} />;
}
