// Loaded on every page. Each module has one job, and pages work without JavaScript.

import "./call.js";
import "./copy.js";
import "./frame.js";
import "./keys.js";
import "./members.js";
import "./parts.js";
import "./submit.js";
import "./theme_choice.js";
import "./times.js";
