import { render } from 'preact';
import { App } from './app.js';
import { keepLive } from './data/live.js';
import { followLinks } from './data/nav.js';
import { keepTheme } from './data/theme.js';
import './style/tokens.css';
import './style/base.css';
import './style/shell.css';
import './style/parts.css';
import './style/views.css';

keepTheme();
followLinks();
keepLive();
render(<App />, document.getElementById('app')!);
