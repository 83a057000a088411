package text

// parseQuery reads the whole query. Besides what [parseURLEncoded] refuses, a
// query has no unescaped spaces, no bytes beyond ASCII, and no fragment, at
// which some receivers would stop reading.
func parseQuery(raw string) ([]field, Kind) {
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7F || c == '#' {
			return nil, KindSyntax
		}
	}
	return parseURLEncoded(raw)
}
