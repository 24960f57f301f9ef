// The page that says why there is none follows Airflow's theme as well.

import { followTheme } from "./theme.js";

followTheme();
