"""Where the joints of the rendered figures are, and how far landmarks lie from them."""
