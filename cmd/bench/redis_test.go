package main

import "testing"

func TestInfoNumber(t *testing.T) {
	const info = "# CPU\r\nused_cpu_sys:1.025000\r\nused_cpu_sys_children:7.0\r\nused_cpu_user:0.250000\r\nused_memory_human:1M\r\n"
	for name, want := range map[string]float64{"used_cpu_sys": 1.025, "used_cpu_user": 0.25} {
		if got, err := infoNumber(info, name); err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"used_cpu", "used_memory", "used_memory_human"} {
		if got, err := infoNumber(info, name); err == nil {
			t.Errorf("%s is %v, want an error", name, got)
		}
	}
}
