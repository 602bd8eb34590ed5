"""What a notebook talks to: parameters, one study's inputs and results, the run folder."""
