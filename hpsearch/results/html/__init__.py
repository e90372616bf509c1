"""HTML pages that need no network: escaped elements, and the page with its styles and scripts."""
