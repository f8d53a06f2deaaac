import { Title } from '../parts/basics.js';

export function AddSensor() {
  return <Title text="AddSensor" />;
}
