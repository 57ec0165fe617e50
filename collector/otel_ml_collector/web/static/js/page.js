// What every page does. Each module has one job, and every page works without any of them.

import "./call.js";
import "./copy.js";
import "./frame.js";
import "./keys.js";
import "./parts.js";
import "./submit.js";
import "./theme_choice.js";
import "./times.js";
