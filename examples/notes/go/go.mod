module notes

go 1.24

require planck v0.0.0

replace planck => ../../../sdk/go
