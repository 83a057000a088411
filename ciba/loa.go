package ciba

import (
	"errors"
	"strings"
)

// loaPrefix begins the URL form of the levels.
const loaPrefix = "https://data.gov.dk/concept/core/nsis/"

// ParseLoA reads a level of assurance: "low", "substantial" or "high", in any
// case, bare or as the URL https://data.gov.dk/concept/core/nsis/Substantial.
func ParseLoA(s string) (LoA, error) {
	switch strings.ToLower(strings.TrimPrefix(s, loaPrefix)) {
	case "low":
		return LoALow, nil
	case "substantial":
		return LoASubstantial, nil
	case "high":
		return LoAHigh, nil
	}
	return LoANone, errors.New("parsing level of assurance: it must be low, substantial or high")
}

// String is the level's name in lower case, "none" for LoANone.
func (l LoA) String() string {
	switch l {
	case LoALow:
		return "low"
	case LoASubstantial:
		return "substantial"
	case LoAHigh:
		return "high"
	}
	return "none"
}
