"""Build the site into site/: python -m docs._build.site"""

import sys

from docs._build.site.build import main

sys.exit(main())
